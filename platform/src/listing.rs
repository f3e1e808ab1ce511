//! What listings and `*:info` show: one definition gives the text for people and the JSON for programs.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::limits::{show_bytes, show_rough_bytes, show_seconds, show_thousandths};

/// One value: how it is written depends on the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// As it is; control characters are escaped for people.
    Text(String),
    /// A count.
    Number(u64),
    /// Bytes; for people in a unit.
    Size(u64),
    /// Bytes that were counted; for people rounded.
    Rough(u64),
    /// Seconds; for people in a unit.
    Seconds(u64),
    /// A number with three decimal places.
    Thousandths(u64),
    /// `yes` or `-`, true or false.
    Flag(bool),
    /// Several values: with commas, or as an array.
    Many(Vec<String>),
    /// `-` or null.
    Nothing,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Vec<String>> for Cell {
    fn from(values: Vec<String>) -> Self {
        Self::Many(values)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

impl Cell {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => printable(text),
            Self::Number(number) => number.to_string().into(),
            Self::Size(bytes) => show_bytes(*bytes).into(),
            Self::Seconds(seconds) => show_seconds(*seconds).into(),
            Self::Rough(bytes) => show_rough_bytes(*bytes).into(),
            Self::Thousandths(number) => show_thousandths(*number).into(),
            Self::Flag(true) => "yes".into(),
            Self::Many(values) if !values.is_empty() => values.join(", ").into(),
            Self::Flag(false) | Self::Many(_) | Self::Nothing => "-".into(),
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) | Self::Size(number) | Self::Rough(number) | Self::Seconds(number) => {
                serializer.serialize_u64(*number)
            }
            Self::Thousandths(number) => match show_thousandths(*number).parse::<f64>() {
                Ok(number) => serializer.serialize_f64(number),
                Err(_) => serializer.serialize_none(),
            },
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Many(values) => values.serialize(serializer),
            Self::Nothing => serializer.serialize_none(),
        }
    }
}

/// Rows of the same columns.
#[derive(Debug)]
pub struct Listing<const N: usize> {
    heading: String,
    columns: [&'static str; N],
    rows: Vec<[Cell; N]>,
    empty: String,
}

impl<const N: usize> Listing<N> {
    /// A listing without rows. Columns are named in `snake_case`; `empty` tells people what to do when there is no row.
    pub fn new(heading: impl Into<String>, columns: [&'static str; N], empty: impl Into<String>) -> Self {
        Self { heading: heading.into(), columns, rows: Vec::new(), empty: empty.into() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: [Cell; N]) {
        self.rows.push(cells);
    }

    /// The whole listing, with its last line end.
    pub fn render(&self, json: bool) -> String {
        if json {
            pretty(&self.rows.iter().map(|row| Object(&self.columns, row)).collect::<Vec<_>>())
        } else {
            self.text()
        }
    }

    /// The same for programs; for people a line for each column and a column for each row, where there are many columns and few rows.
    pub fn render_turned(&self, json: bool) -> String {
        if json {
            return self.render(true);
        }
        let turned = self.columns.iter().enumerate().map(|(at, column)| {
            let name: Cow<'_, str> = if at == 0 { title(column).to_uppercase().into() } else { title(column).into() };
            let cells = self.rows.iter().filter_map(|row| row.get(at).map(Cell::text));
            std::iter::once(name).chain(cells).collect::<Vec<_>>()
        });
        let lines: Vec<_> = turned.collect();
        let widest =
            |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|cell| width(cell)).max().unwrap_or(0);
        let widths: Vec<usize> = (0..=self.rows.len()).map(widest).collect();
        let heading = format!("=====> {}\n", self.heading);
        lines.iter().fold(heading, |text, line| text + &aligned(line, &widths) + "\n")
    }

    fn text(&self) -> String {
        let heading = format!("=====> {}\n", self.heading);
        if self.rows.is_empty() {
            return format!("{heading}       {}\n", self.empty);
        }
        let titles = self.columns.map(|column| Cow::Owned(title(column).to_uppercase()));
        let rows = self.rows.iter().map(|row| row.each_ref().map(Cell::text));
        let lines: Vec<[Cow<'_, str>; N]> = std::iter::once(titles).chain(rows).collect();
        let widths: [usize; N] = std::array::from_fn(|column| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| width(cell)).max().unwrap_or(0)
        });
        lines.iter().fold(heading, |text, line| text + &aligned(line, &widths) + "\n")
    }
}

/// One thing with its properties.
#[derive(Debug)]
pub struct Details {
    heading: String,
    names: Vec<&'static str>,
    values: Vec<Cell>,
}

impl Details {
    /// Nothing known yet.
    pub fn new(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), names: Vec::new(), values: Vec::new() }
    }

    /// Adds a property; its name is in `snake_case`.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cell>) -> Self {
        self.names.push(name);
        self.values.push(value.into());
        self
    }

    /// All of it, with its last line end.
    pub fn render(&self, json: bool) -> String {
        if json {
            return pretty(&Object(&self.names, &self.values));
        }
        let longest = self.names.iter().map(|name| name.len()).max().unwrap_or(0);
        let lines = self.names.iter().zip(&self.values);
        lines.fold(format!("=====> {}\n", self.heading), |text, (name, value)| {
            let name = format!("{}:", title(name));
            text + format!("       {name:<width$}{}", value.text(), width = longest + 2).trim_end() + "\n"
        })
    }
}

/// Text that cannot move the reader's cursor, set a title or make the terminal answer: control characters are escaped.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    text.chars()
        .fold(String::with_capacity(text.len()), |mut safe, character| {
            if character.is_control() {
                safe.extend(character.escape_default());
            } else {
                safe.push(character);
            }
            safe
        })
        .into()
}

/// An object whose keys keep the order of the columns.
struct Object<'a>(&'a [&'static str], &'a [Cell]);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0.iter().zip(self.1) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn pretty(value: &impl Serialize) -> String {
    // Strings, numbers and string keys always have a JSON form.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn title(column: &str) -> String {
    column.replace('_', " ")
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn aligned(cells: &[Cow<'_, str>], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processes() -> Listing<4> {
        let mut listing = Listing::new("blog processes", ["process", "created_at", "pid", "current"], "nothing runs");
        listing.row(["web.1".into(), "2026-11-20T21:00:00.000Z".into(), 4711_u32.into(), true.into()]);
        listing.row(["longer.12".into(), "-".into(), None::<u32>.into(), false.into()]);
        listing
    }

    #[test]
    fn a_table_for_people() {
        insta::assert_snapshot!(processes().render(false), @r"
        =====> blog processes
        PROCESS    CREATED AT                PID   CURRENT
        web.1      2026-11-20T21:00:00.000Z  4711  yes
        longer.12  -                         -     -
        ");
    }

    #[test]
    fn a_turned_table_for_people() {
        insta::assert_snapshot!(processes().render_turned(false), @r"
        =====> blog processes
        PROCESS     web.1                     longer.12
        created at  2026-11-20T21:00:00.000Z  -
        pid         4711                      -
        current     yes                       -
        ");
        assert_eq!(processes().render_turned(true), processes().render(true));
    }

    #[test]
    fn the_same_for_programs() {
        insta::assert_snapshot!(processes().render(true), @r#"
        [
          {
            "process": "web.1",
            "created_at": "2026-11-20T21:00:00.000Z",
            "pid": 4711,
            "current": true
          },
          {
            "process": "longer.12",
            "created_at": "-",
            "pid": null,
            "current": false
          }
        ]
        "#);
    }

    #[test]
    fn an_empty_listing() {
        let listing = Listing::<1>::new("Apps", ["app"], "none yet");
        insta::assert_snapshot!(listing.render(false), @r"
        =====> Apps
               none yet
        ");
        assert_eq!(listing.render(true), "[]\n");
    }

    #[test]
    fn details() {
        let domains = vec!["a.example".to_owned(), "b.example".to_owned()];
        let details =
            Details::new("blog").with("app", "blog").with("deploy_branch", None::<String>).with("domains", domains);
        insta::assert_snapshot!(details.render(false), @r"
        =====> blog
               app:           blog
               deploy branch: -
               domains:       a.example, b.example
        ");
        insta::assert_snapshot!(details.render(true), @r#"
        {
          "app": "blog",
          "deploy_branch": null,
          "domains": [
            "a.example",
            "b.example"
          ]
        }
        "#);
    }

    #[test]
    fn control_characters_are_shown_not_sent() {
        assert_eq!(printable("a\x1b[2J\tb\r\u{9b}é"), "a\\u{1b}[2J\\tb\\r\\u{9b}é");
    }
}
