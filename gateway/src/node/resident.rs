//! How much memory the process has.

use std::fs;

/// Larger on few systems, on which less memory is seen than there is.
const PAGE: u64 = 4096;

/// Resident memory in bytes; 0 where the system does not say (proc(5), `/proc/self/statm`).
pub(super) fn bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1);
    let pages: u64 = pages.and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * PAGE
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_has_some_memory() {
        assert!(super::bytes() > 1 << 20);
    }
}
