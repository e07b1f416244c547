//! What to do when a real service is not there.

/// Ends a test that needs a service which cannot be had: prints `skipped: <why>` on a
/// developer's machine, and panics where every service is required (`CI` is set).
///
/// ```no_run
/// # fn start() -> Result<(), String> { Ok(()) }
/// let Ok(service) = start().map_err(|why| rollback_testkit::service::unavailable(&why)) else {
///     return;
/// };
/// ```
pub fn unavailable(why: &str) {
    if std::env::var_os("CI").is_some_and(|v| !v.is_empty() && v != "false") {
        panic!("a required service is not available: {why}");
    }
    eprintln!("skipped: {why}");
}
