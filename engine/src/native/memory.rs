//! Keeps small what stays beside every instance for its whole life.
//!
//! Starting a sandbox walks through far more of the binary than waiting for its end does. The pages of code it touched
//! stay mapped, though nothing will run there again.

use std::fs;

use super::sys;

/// Unmaps the pages of code. What is still needed comes back from the page cache, page by page, when it is run.
pub(super) fn let_go_of_code() {
    // Best effort: without it the process is merely larger.
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, end) in maps.lines().filter_map(code) {
        sys::unmap_code(start, end);
    }
}

/// Where a line of `/proc/self/maps` says that code of a file is mapped.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let executable = fields.next()? == "r-xp";
    let from_file = fields.nth(3)?.starts_with('/');
    let address = |text| usize::from_str_radix(text, 16).ok();
    if executable && from_file { Some((address(start)?, address(end)?)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::{code, let_go_of_code};

    #[test]
    fn lines() {
        for (line, expected) in [
            (
                "55d0c0a1e000-55d0c0f00000 r-xp 00241000 fe:00 10312285   /usr/bin/airstrip",
                Some((0x55d0_c0a1_e000, 0x55d0_c0f0_0000)),
            ),
            ("55d0c0a1e000-55d0c0f00000 r--p 00241000 fe:00 10312285   /usr/bin/airstrip", None),
            ("55d0c0a1e000-55d0c0f00000 rwxp 00241000 fe:00 10312285   /usr/bin/airstrip", None),
            ("7ffd7a1e5000-7ffd7a1e7000 r-xp 00000000 00:00 0          [vdso]", None),
            ("7ffd7a1e5000-7ffd7a1e7000 r-xp 00000000 00:00 0", None),
            ("", None),
        ] {
            assert_eq!(code(line), expected, "{line}");
        }
    }

    #[test]
    fn the_process_goes_on() {
        let_go_of_code();
        assert_eq!(std::thread::spawn(|| 6 * 7).join().unwrap(), 42);
    }
}
