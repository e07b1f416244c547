//! Names of images, as files and releases have them.

/// Whether two references ask for the same name.
pub(crate) fn same_image(one: &str, other: &str) -> bool {
    let whole = |name: &str| {
        let last = name.rfind('/').map_or(0, |at| at + 1);
        match name[last..].contains([':', '@']) {
            true => name.to_owned(),
            false => format!("{name}:latest"),
        }
    };
    whole(one) == whole(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_is_the_latest() {
        assert!(same_image("shop/api", "shop/api:latest"));
        assert!(same_image("host:5000/api:v1", "host:5000/api:v1"));
        assert!(!same_image("host:5000/api", "host:5000/api:v1"));
        assert!(!same_image("api:v1", "api:v2"));
    }
}
