//! Names that nobody else has.

use std::fs::File;
use std::io::Read;

/// So many random hexadecimal digits; `None` if the kernel gives none.
pub fn hex(digits: usize) -> Option<String> {
    let mut bytes = vec![0; digits.div_ceil(2)];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .ok()?;
    let mut text = base16ct::lower::encode_string(&bytes);
    text.truncate(digits);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another_and_as_long_as_asked_for() {
        let (a, b) = (hex(33).unwrap(), hex(33).unwrap());
        assert_eq!(a.len(), 33);
        assert_ne!(a, b);
    }
}
