//! Entries of the fault list, as the file and `PUT /_faults` spell them.

use super::check_content_path;
use super::decode::Section;
use super::size::Size;
use crate::control_plane::{Service, WrongAnswer};
use crate::fault::Fault;

pub(super) fn decode(entry: &mut Section<'_>) -> Fault {
    let bytes = |size: Option<Size>| size.map(|size| size.0);
    Fault {
        path: entry.take("path"),
        service: entry.take("service"),
        status: entry.take("status"),
        retry_after_seconds: entry.take("retryAfterSeconds"),
        delay_milliseconds: entry.take::<Option<u64>>("delayMilliseconds").unwrap_or_default(),
        stall_after_bytes: bytes(entry.take("stallAfterBytes")),
        cut_after_bytes: bytes(entry.take("cutAfterBytes")),
        corrupt_byte: bytes(entry.take("corruptByte")),
        corrupt_piece: entry.take("corruptPiece"),
        answer: entry.take("answer"),
        trickle_bytes_per_second: bytes(entry.take("trickleBytesPerSecond")),
        times: entry.take("times"),
    }
}

pub(super) fn check(faults: &[Fault], list: &str, errors: &mut Vec<String>) {
    for (index, fault) in faults.iter().enumerate() {
        match (fault.path.as_str(), fault.service) {
            ("", Some(_)) | ("*", None) => {}
            ("", None) => errors.push(format!("{list}[{index}].path: is missing, set it or service")),
            (_, Some(_)) => {
                errors.push(format!("{list}[{index}].service: there is a path too, remove one of them"));
            }
            (path, None) => check_content_path(&format!("{list}[{index}].path"), path, errors),
        }
        let pieceless = fault.service.is_some_and(|service| service != Service::PieceHashFile);
        if fault.corrupt_piece.is_some() && pieceless {
            errors
                .push(format!("{list}[{index}].corruptPiece: this service has no pieces, use PieceHashFile"));
        }
        if let Some(answer) = fault.answer {
            check_answer(answer, fault.service, &format!("{list}[{index}].answer"), errors);
        }
        if let Some(status) = fault.status
            && !(200..=599).contains(&status)
        {
            errors.push(format!("{list}[{index}].status: {status} is not a final status, use 200 to 599"));
        }
        if fault.retry_after_seconds.is_some() && fault.status.is_none_or(|status| status == 200) {
            errors.push(format!(
                "{list}[{index}].retryAfterSeconds: is sent with a status of the fault only, set status"
            ));
        }
        if fault.trickle_bytes_per_second == Some(0) {
            errors.push(format!(
                "{list}[{index}].trickleBytesPerSecond: 0 would never end, use stallAfterBytes instead"
            ));
        }
    }
}

/// The additional rule of a mock without control plane.
pub(super) fn check_without_services(faults: &[Fault], list: &str, errors: &mut Vec<String>) {
    for (index, fault) in faults.iter().enumerate() {
        if let Some(service) = fault.service {
            errors.push(format!("{list}[{index}].service: there is no {service} here, set controlPlane"));
        }
    }
}

/// A fault that could never show would make a test pass for the wrong reason.
fn check_answer(answer: WrongAnswer, service: Option<Service>, at: &str, errors: &mut Vec<String>) {
    let fits = match answer {
        WrongAnswer::WrongHashOfHashes => {
            matches!(service, Some(Service::ContentPolicy | Service::PieceHashFile))
        }
        WrongAnswer::WrongPieceCount => service == Some(Service::PieceHashFile),
        _ => service.is_some(),
    };
    if !fits {
        let service = service.map_or_else(|| "no service".to_owned(), |service| service.to_string());
        errors.push(format!("{at}: {answer:?} has no effect with {service}, set a service that it fits"));
    }
}
