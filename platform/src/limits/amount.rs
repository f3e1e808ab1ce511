//! How amounts are written: `512M`, `1.5`, `15m`.

const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

/// `512M`, `512MB`, `512MiB`, `1048576B`: always powers of 1024. A number alone could mean anything.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_uppercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..)? {
        "B" => 0,
        unit => {
            let letter = unit.strip_suffix("IB").or_else(|| unit.strip_suffix(['I', 'B'])).unwrap_or(unit);
            UNITS.into_iter().find(|(known, _)| letter.chars().eq([*known]))?.1
        }
    };
    parse_count(digits)?.checked_mul(1 << shift)
}

/// `512M`: in the largest unit that needs no fraction.
pub fn show_bytes(bytes: u64) -> String {
    let unit = UNITS.into_iter().find(|(_, shift)| bytes != 0 && bytes.trailing_zeros() >= *shift);
    unit.map_or_else(|| format!("{bytes}B"), |(letter, shift)| format!("{}{letter}", bytes >> shift))
}

/// `12.3M`: of what was counted nobody wants to know every byte.
pub fn show_rough_bytes(bytes: u64) -> String {
    let Some((letter, shift)) = UNITS.into_iter().find(|(_, shift)| bytes >> shift > 0) else {
        return format!("{bytes}B");
    };
    let tenths = (u128::from(bytes) * 10) >> shift;
    format!("{}.{}{letter}", tenths / 10, tenths % 10)
}

const TIMES: [(char, u64); 3] = [('h', 3600), ('m', 60), ('s', 1)];

/// `15m`: a number alone could mean anything.
pub(crate) fn parse_seconds(text: &str) -> Option<u64> {
    let (unit, seconds) = TIMES.into_iter().find(|(unit, _)| text.ends_with(*unit))?;
    parse_count(text.strip_suffix(unit)?)?.checked_mul(seconds)
}

/// `15m`: in the largest unit that needs no fraction.
pub fn show_seconds(amount: u64) -> String {
    let unit = TIMES.into_iter().find(|(_, seconds)| amount != 0 && amount.is_multiple_of(*seconds));
    unit.map_or_else(|| format!("{amount}s"), |(unit, seconds)| format!("{}{unit}", amount / seconds))
}

/// `2`, `0.5`, to three places.
pub(super) fn parse_thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let places = u32::try_from(part.len()).ok().filter(|places| (1..=3).contains(places))?;
    let part = parse_count(part)?.checked_mul(10_u64.pow(3 - places))?;
    parse_count(whole)?.checked_mul(1000)?.checked_add(part)
}

/// `1.5`
pub fn show_thousandths(amount: u64) -> String {
    let text = format!("{}.{:03}", amount / 1000, amount % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Without the sign that the standard library would take.
pub(super) fn parse_count(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
