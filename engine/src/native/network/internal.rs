//! Names that end in `.internal`: other programs of the same owner, behind one address inside, which leads to a server of the
//! host's that knows them by the name in their requests.
//!
//! Only names of two labels are taken: clouds have longer ones of their own.

use std::net::Ipv4Addr;

/// What every such name has for its address.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 4);
/// The only port behind it.
pub(super) const PORT: u16 = 80;

const HEADER: usize = 12;
/// The second label, as it is in a question, with the empty one that ends a name.
const SUFFIX: &[u8] = b"\x08internal\x00";
const ADDRESS_OF_4: u16 = 1;
const INTERNET: u16 = 1;
/// Seconds for which an answer may be kept.
const KEPT: [u8; 4] = [0, 0, 0, 5];

/// The answer to a question about such a name (RFC 1035); `None` if the question is about anything else.
pub(super) fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let header: &[u8; HEADER] = question.first_chunk()?;
    // A standard question, one only.
    if header[2] & 0xf8 != 0 || header[4..6] != [0, 1] {
        return None;
    }
    let end = HEADER + 1 + usize::from(*question.get(HEADER)?);
    let after = end + SUFFIX.len();
    if end == HEADER + 1 || !question.get(end..after)?.eq_ignore_ascii_case(SUFFIX) {
        return None;
    }
    let number = |at: usize| question.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let known = number(after)? == ADDRESS_OF_4;
    if number(after + 2)? != INTERNET {
        return None;
    }
    let recursion_wanted = header[2] & 1;
    let mut answer = vec![header[0], header[1], 0x80 | recursion_wanted, 0x80, 0, 1, 0, u8::from(known), 0, 0, 0, 0];
    answer.extend(&question[HEADER..after + 4]);
    if known {
        answer.extend([0xc0, 12, 0, 1, 0, 1]);
        answer.extend(KEPT);
        answer.extend([0, 4]);
        answer.extend(ADDRESS.octets());
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question(labels: &[&str], kind: u8) -> Vec<u8> {
        let mut question = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            question.push(u8::try_from(label.len()).unwrap());
            question.extend(label.bytes());
        }
        question.extend([0, 0, kind, 0, 1]);
        question
    }

    #[test]
    fn names() {
        let asked = question(&["shop", "Internal"], 1);
        let told = answer(&asked).unwrap();
        assert_eq!(told[..12], [7, 9, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(told[12..asked.len()], asked[12..]);
        assert_eq!(told[told.len() - 4..], [10, 0, 2, 4]);
        let other_kind = answer(&question(&["shop", "internal"], 28)).unwrap();
        assert_eq!((other_kind[3], other_kind[7], other_kind.len()), (0x80, 0, asked.len()));
        for others in
            [&["internal"][..], &["shop", "example"], &["a", "shop", "internal"], &["shop", "internal", "org"], &[]]
        {
            assert_eq!(answer(&question(others, 1)), None, "{others:?}");
        }
        // What comes after the question (EDNS) is not answered.
        let with_more = [&asked[..], &[0, 0, 41, 5, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(answer(&with_more), Some(told));
    }

    proptest! {
        #[test]
        fn no_question_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..60), label in 0_u8..30, likely: bool) {
            if likely && bytes.len() > 40 {
                bytes[2] = 1;
                bytes[4..6].copy_from_slice(&[0, 1]);
                bytes[12] = label;
                let end = 13 + usize::from(label);
                if end + SUFFIX.len() < bytes.len() {
                    bytes[end..end + SUFFIX.len()].copy_from_slice(SUFFIX);
                }
            }
            let _ = answer(&bytes);
        }
    }
}
