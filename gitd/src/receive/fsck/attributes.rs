//! `.gitattributes`.

use super::Problem;

/// What git reads of such a file at most, and of one line of it.
const FILE: usize = 100 << 20;
const LINE: usize = 2048;

/// Checks the file's bytes.
pub(in crate::receive) fn check(content: &[u8]) -> Result<(), Problem> {
    if content.len() > FILE {
        return Err(Problem::new("gitattributesLarge", ".gitattributes too large to parse"));
    }
    // To git it is a C string.
    let text = content.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.split(|byte| *byte == b'\n').any(|line| line.len() >= LINE) {
        return Err(Problem::new("gitattributesLineLength", ".gitattributes has too long lines to parse"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_refused() {
        let long = [b"* text\n".as_slice(), &[b'x'; LINE], b"\n"].concat();
        assert_eq!(check(&long).unwrap_err().id, "gitattributesLineLength");
        assert_eq!(check(&vec![b'x'; FILE + 1]).unwrap_err().id, "gitattributesLarge");
        assert!(check(&[b"* text\n".as_slice(), &[b'x'; LINE - 1], b"\n"].concat()).is_ok());
    }
}
