//! The sidecar's admin listener: what it counted, and how its content was checked.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::interrupt;

/// How long a reply may take.
const REPLY_WITHIN: Duration = Duration::from_secs(10);
/// How long what clients have may take to be stored.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// How often that is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The admin listener of one sidecar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
}

/// How the pieces of an object were checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verification {
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) authenticated_pieces: u64,
    pub(crate) stored_pieces: u64,
    pub(crate) complete: bool,
}

#[derive(Deserialize)]
struct Page {
    objects: Vec<Object>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    key: String,
    pieces: u64,
    stored_pieces: u64,
    verification: Option<Verification>,
}

impl Admin {
    pub(crate) const fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    /// The sum of a counter over its labels; an error when there is no such counter.
    pub(crate) fn count(self, name: &str) -> Result<f64> {
        sum(&self.get("/metrics")?, name).with_context(|| format!("the sidecar has no metric {name}"))
    }

    /// How the content at a path was checked, once every piece of it is stored: what clients have received may be stored a
    /// moment later. `None` = this sidecar does not say.
    pub(crate) fn settled(self, path: &str) -> Result<Option<Verification>> {
        let end = Instant::now() + SETTLED_WITHIN;
        loop {
            let page: Page = serde_json::from_str(&self.get("/objects?limit=1000")?)?;
            let found = page.objects.into_iter().find(|object| object.key.ends_with(path));
            let stored = found.filter(|object| object.stored_pieces == object.pieces);
            match stored.map(|object| object.verification) {
                Some(None) => return Ok(None),
                Some(Some(found)) if found.state != "pending" => return Ok(Some(found)),
                _ if Instant::now() > end => bail!("{path} was not stored in {SETTLED_WITHIN:?}"),
                _ => interrupt::pause(LOOK_EVERY)?,
            }
        }
    }

    fn get(self, target: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address).context("unable to reach the admin listener")?;
        stream.set_read_timeout(Some(REPLY_WITHIN))?;
        write!(stream, "GET {target} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).with_context(|| format!("unable to read {target}"))?;
        let (head, body) = reply.split_once("\r\n\r\n").context("a reply without a head")?;
        if head.split(' ').nth(1) != Some("200") {
            bail!("{target} is answered {}", head.lines().next().unwrap_or_default());
        }
        Ok(body.to_owned())
    }
}

/// The sum of the samples of one name in Prometheus' text format; `None` without any.
fn sum(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let found = series.split('{').next()?;
        (found == name).then(|| value.parse::<f64>().ok())?
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn samples_of_one_name_are_summed_and_none_is_not_zero() {
        let text = "# HELP a_total x\na_total{by=\"x\"} 2\na_total{by=\"y\"} 3\na_total_more 7\nb_total 0\n";
        assert_eq!(sum(text, "a_total"), Some(5.0));
        assert_eq!(sum(text, "b_total"), Some(0.0));
        assert_eq!(sum(text, "c_total"), None);
    }
}
