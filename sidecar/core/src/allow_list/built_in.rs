//! Microsoft's published content endpoints, by what they deliver (dossier delivery-optimization 1.3). Control traffic of
//! a real node (`*.do.dsp.mp.microsoft.com` and the like) is not content and not listed.

use super::AllowedOrigin;
use crate::ContentClass::{self, DeviceUpdate, Edge, Intune, Office, Outlook, Teams, WindowsUpdate, Xbox};

const ORIGINS: &[(ContentClass, &[&str])] = &[
    (
        WindowsUpdate,
        &[
            "*.download.windowsupdate.com",
            "*.b1.download.windowsupdate.com",
            "*.au.download.windowsupdate.com",
            "*.au.b1.download.windowsupdate.com",
            "*.ctldl.windowsupdate.com",
            "*.dl.delivery.mp.microsoft.com",
            "*.tlu.dl.delivery.mp.microsoft.com",
            "*.emdl.ws.microsoft.com",
        ],
    ),
    // The last one is a name below a Windows Update star that is known to carry Edge.
    (Edge, &["*.delivery.mp.microsoft.com", "msedge.b.tlu.dl.delivery.mp.microsoft.com"]),
    (Office, &["*.officecdn.microsoft.com.edgesuite.net", "*.officecdn.microsoft.com", "*.cdn.office.net"]),
    (Intune, &["*.manage.microsoft.com"]),
    (Teams, &["*.statics.teams.cdn.office.net"]),
    (Outlook, &["*.res.cdn.office.net"]),
    (
        Xbox,
        &[
            "assets1.xboxlive.com",
            "assets2.xboxlive.com",
            "dlassets.xboxlive.com",
            "dlassets2.xboxlive.com",
            "d1.xboxlive.com",
            "d2.xboxlive.com",
            "xbl-dlassets-origin.xboxlive.com",
            "assets-origin.xboxlive.com",
            "xvcb1.xboxlive.com",
            "xvcb2.xboxlive.com",
            "xvcf1.xboxlive.com",
            "xvcf2.xboxlive.com",
            "assets.xbox.com",
        ],
    ),
    (
        DeviceUpdate,
        &["*.tlu.dl.adu.microsoft.com", "*.nlu.dl.adu.microsoft.com", "*.dcsfe.prod.adu.microsoft.com"],
    ),
];

/// The list as patterns.
pub(super) fn origins() -> Vec<AllowedOrigin> {
    ORIGINS
        .iter()
        .flat_map(|(class, patterns)| patterns.iter().map(move |pattern| (*class, *pattern)))
        // Every pattern above is well-formed: `every_built_in_pattern_is_well_formed` below counts them.
        .filter_map(|(class, pattern)| {
            Some(AllowedOrigin { pattern: pattern.parse().ok()?, port: None, class, alias: None })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_built_in_pattern_is_well_formed() {
        let written: usize = super::ORIGINS.iter().map(|(_, patterns)| patterns.len()).sum();
        assert_eq!(super::origins().len(), written);
    }
}
