//! What is printed of the outcomes.

use crate::attempts::Outcome;

/// The outcomes in one kind of sandbox.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// Not only there for comparison.
    pub(crate) is_ours: bool,
    outcomes: Vec<Outcome>,
}

impl Column {
    pub(crate) fn new(name: &'static str, is_ours: bool, outcomes: Vec<Outcome>) -> Self {
        Self { name, is_ours, outcomes }
    }

    /// Whether every attempt was denied; prints those that were not.
    pub(crate) fn all_denied(&self) -> bool {
        let others: Vec<_> = self.outcomes.iter().filter(|one| one.result != "denied").collect();
        let (skipped, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|one| one.result == "not made");
        for one in &skipped {
            println!("skipped: {} {}: {}", self.name, one.name, one.seen);
        }
        for one in &others {
            println!("FAILED {} {}: {} ({})", self.name, one.name, one.result, one.seen);
        }
        let made = self.outcomes.len() - skipped.len();
        println!("{made} attempts, {} denied: {}", made - others.len(), self.name);
        others.is_empty()
    }

    fn of(&self, name: &str) -> String {
        let found = self.outcomes.iter().find(|one| one.name == name);
        found.map_or_else(|| "not made".to_owned(), |one| format!("{}: {}", one.result, one.seen.replace('|', "/")))
    }
}

/// One line for each outcome, for another process of this suite.
pub(crate) fn print_json(column: &Column) {
    for one in &column.outcomes {
        println!("{}", serde_json::to_string(one).unwrap());
    }
}

/// One row for each attempt.
pub(crate) fn print_table(columns: &[Column]) {
    let row = |cells: Vec<String>| println!("| {} |", cells.join(" | "));
    row(std::iter::once("attempt".to_owned()).chain(columns.iter().map(|column| column.name.to_owned())).collect());
    row(vec!["---".to_owned(); columns.len() + 1]);
    for one in &columns[0].outcomes {
        let words = one.name.replace('_', " ");
        row(std::iter::once(words).chain(columns.iter().map(|column| column.of(&one.name))).collect());
    }
}
