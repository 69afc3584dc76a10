//! Entries of the fault list, as the file and `PUT /_faults` spell them.

use super::check_content_path;
use super::decode::Section;
use super::size::Size;
use crate::fault::Fault;

pub(super) fn decode(entry: &mut Section<'_>) -> Fault {
    let bytes = |size: Option<Size>| size.map(|size| size.0);
    Fault {
        path: entry.required("path"),
        status: entry.take("status"),
        delay_milliseconds: entry.take::<Option<u64>>("delayMilliseconds").unwrap_or_default(),
        stall_after_bytes: bytes(entry.take("stallAfterBytes")),
        cut_after_bytes: bytes(entry.take("cutAfterBytes")),
        corrupt_byte: bytes(entry.take("corruptByte")),
        trickle_bytes_per_second: bytes(entry.take("trickleBytesPerSecond")),
        times: entry.take("times"),
    }
}

pub(super) fn check(faults: &[Fault], list: &str, errors: &mut Vec<String>) {
    for (index, fault) in faults.iter().enumerate() {
        if fault.path != "*" {
            check_content_path(&format!("{list}[{index}].path"), &fault.path, errors);
        }
        if let Some(status) = fault.status
            && !(200..=599).contains(&status)
        {
            errors.push(format!("{list}[{index}].status: {status} is not a final status, use 200 to 599"));
        }
        if fault.trickle_bytes_per_second == Some(0) {
            errors.push(format!(
                "{list}[{index}].trickleBytesPerSecond: 0 would never end, use stallAfterBytes instead"
            ));
        }
    }
}
