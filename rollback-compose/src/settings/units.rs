//! How compose writes times and sizes.

use std::time::Duration;

/// `1m30s`, `500ms`, `10s`; a number without a unit is in seconds.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let (mut rest, mut whole) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit());
        let unit_end = unit_end.map_or(rest.len(), |end| digits + end);
        let number: f64 = rest[..digits].parse().ok()?;
        let nanos = match &rest[digits..unit_end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "d" => 86_400e9,
            _ => return None,
        };
        whole = whole.checked_add(Duration::try_from_secs_f64(number * nanos / 1e9).ok()?)?;
        rest = &rest[unit_end..];
    }
    Some(whole)
}

/// `64m`, `1g`, `67108864`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let shift = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// CPUs in thousandths, where it can be said so.
pub(crate) fn millicpus(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = part.trim_end_matches('0');
    if part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths: u32 = format!("{part:0<3}").parse().ok()?;
    let whole: u32 = match whole {
        "" => 0,
        whole => whole.parse().ok()?,
    };
    whole.checked_mul(1000)?.checked_add(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_what_compose_means() {
        let millis = |text| duration(text).map(|d| d.as_millis());
        assert_eq!(millis("1m30s"), Some(90_000));
        assert_eq!(millis("90s"), Some(90_000));
        assert_eq!(millis("1.5s"), Some(1500));
        assert_eq!(millis("1h0m0.25s"), Some(3_600_250));
        assert_eq!(millis("7"), Some(7000));
        for bad in ["s", "5x", "1m30", "-1s"] {
            assert_eq!(millis(bad), None, "{bad}");
        }
        assert_eq!(bytes("64m"), Some(64 << 20));
        assert_eq!(bytes("1GB"), Some(1 << 30));
        assert_eq!(bytes("67108864"), Some(1 << 26));
        assert_eq!(bytes("1x"), None);
        assert_eq!(bytes("99999999999t"), None);
        assert_eq!(millicpus("0.5"), Some(500));
        assert_eq!(millicpus("2"), Some(2000));
        assert_eq!(millicpus("1.250"), Some(1250));
        assert_eq!(millicpus("0.0001"), None);
        assert_eq!(millicpus("-1"), None);
    }
}
