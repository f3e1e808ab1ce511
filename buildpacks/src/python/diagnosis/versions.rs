//! Versions that do not exist, do not fit the machine or the Python, or do not fit each other.

use crate::message::{Message, between, has, message};

/// What is asked for and does not exist: `flask==99`.
pub(in super::super) fn missing_version(text: &str) -> Option<&str> {
    let uv =
        between(text, "there is no version of ", &[' ']).or(between(text, "only the following versions of ", &[' ']));
    uv.or(between(text, "No matching distribution found for ", &[' ', ';']))
}

pub(super) fn missing(text: &str, near: &[String]) -> Option<Message> {
    let wanted = missing_version(text)?;
    let cause = "The package index knows the package, but no such version of it for this Python and machine.";
    let listed = between(text, "(from versions: ", &[')']).map(|list| nearest(list, wanted)).unwrap_or_default();
    let near = if near.is_empty() { &listed } else { near };
    let near = if near.is_empty() { String::new() } else { format!(" There are: {}.", near.join(", ")) };
    let remedies =
        ["Ask for a version that exists.", "Ask for a Python that the version supports, in .python-version."];
    Some(message(format!("No such version: {wanted}"), format!("{cause}{near}"), &remedies))
}

/// Of a list of versions in order the two before and after a version, and the last.
fn nearest(list: &str, wanted: &str) -> Vec<String> {
    use crate::python::specifier::Version;
    let Some(version) = wanted.split(['=', '<', '>', '~', '!']).next_back().and_then(Version::parse) else {
        return Vec::new();
    };
    let all: Vec<&str> = list.split(',').map(str::trim).filter(|text| Version::parse(text).is_some()).collect();
    let at = all.iter().take_while(|text| Version::parse(text).is_some_and(|other| other < version)).count();
    let mut near = all.get(at.saturating_sub(1)..all.len().min(at + 1)).unwrap_or_default().to_vec();
    near.extend(all.last().filter(|last| !near.contains(last)));
    near.into_iter().map(str::to_owned).collect()
}

/// Every version that would do wants another Python.
pub(super) fn python(text: &str) -> Option<Message> {
    let uv = text.split_once(" requires Python ");
    let pip =
        text.contains("Requires-Python").then(|| between(text, "No matching distribution found for ", &[' ', ';']));
    let (package, wanted) = match (uv, pip) {
        (Some((before, after)), _) => (before.rsplit(' ').next()?, after.split([' ', ',']).next()?),
        (None, Some(package)) => (package?, between(text, "Requires-Python ", &[' ', ';'])?),
        (None, None) => return None,
    };
    Some(message(
        format!("{package} needs another Python"),
        format!("It runs with Python {} only.", wanted.trim_end_matches(',')),
        &[
            "Write a Python that it runs with into .python-version.",
            "Ask for another version of it, one that runs with this Python.",
        ],
    ))
}

/// There are ready-made files, but for other machines.
pub(super) fn platform(text: &str) -> Option<Message> {
    let before =
        text.split(" has no wheels with a matching platform tag").next().filter(|before| before.len() < text.len());
    let package = before?.rsplit(' ').next()?;
    let name = package.split(['=', '<', '>']).next().unwrap_or(package);
    let platforms = between(text, "on the following platforms: ", &['\n']).unwrap_or_default();
    let windows = platforms.contains("win32") || platforms.contains("win_amd64");
    let linux = platforms.contains("linux");
    Some(if windows && !linux {
        message(
            format!("{name} is for Windows only"),
            "There is no file of it for Linux.",
            &[
                "Ask for it on Windows only: add ; sys_platform == \"win32\" to its line.",
                "Remove it from the requirements.",
            ],
        )
    } else {
        message(
            format!("{name} is not there for this machine"),
            "There are ready-made files of it, but none for this system and processor.",
            &["Ask for another version of it.", "Ask for a package that does the same."],
        )
    })
}

/// Old releases were published with what is an error today.
pub(super) fn metadata(text: &str) -> Option<Message> {
    let package = text.split(" has invalid metadata").next().filter(|before| before.len() < text.len())?;
    let package = package.split(' ').next_back().unwrap_or_default();
    Some(message(
        format!("{package} cannot be installed"),
        "Its description of itself breaks the rules that installers follow today.",
        &["Ask for a newer version of it."],
    ))
}

/// Who wants what of whom, as far as the installer says it in this way.
pub(super) fn conflict(text: &str) -> Option<Message> {
    let signs =
        ["requirements are unsatisfiable", "ResolutionImpossible", "conflicting dependencies", "No solution found"];
    if !has(text, &signs) {
        return None;
    }
    let wishes = wishes(text).join("\n");
    let cause = "There are no versions that fit all of them";
    let cause = if wishes.is_empty() { format!("{cause}.") } else { format!("{cause}:\n{wishes}") };
    let remedies =
        ["Loosen one of the requirements that are named.", "Remove the version from the one that matters least."];
    Some(message("The requirements contradict each other", cause, &remedies))
}

fn wishes(text: &str) -> Vec<String> {
    const MOST: usize = 6;
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut wishes: Vec<String> = Vec::new();
    for sentence in words.windows(4) {
        // What follows from other sentences ("that you require") is nothing that the app asks for.
        let wish = match sentence {
            [package, "depends" | "depend", "on", other] => format!("  {package} needs {}", plain(other)),
            ["Because" | "and" | "because", "you", "require", wanted] => {
                format!("  the app asks for {}", plain(wanted))
            }
            _ => continue,
        };
        if wishes.len() < MOST && !wishes.contains(&wish) {
            wishes.push(wish);
        }
    }
    wishes
}

/// Without what ends the sentence.
fn plain(word: &str) -> &str {
    word.trim_end_matches([',', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_near_one_that_is_missing() {
        let list = "1.0, 1.1, 2.0, 2.1rc1, 3.0";
        for (wanted, near) in [("a==1.5", "1.1 2.0 3.0"), ("a==9", "3.0"), ("a==0.1", "1.0 3.0"), ("a", "")] {
            assert_eq!(nearest(list, wanted).join(" "), near, "{wanted}");
        }
    }
}
