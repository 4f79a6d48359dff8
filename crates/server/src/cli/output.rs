//! What commands print: aligned tables for people, JSON for programs.

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::config::Setting;

/// Prints JSON, readable.
pub(crate) fn json(value: &Value) -> anyhow::Result<ExitCode> {
    line(&format!("{value:#}"))
}

/// Prints one line.
pub(crate) fn line(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        // Whoever read our output has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints rows under a head, each column as wide as its widest cell.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> anyhow::Result<ExitCode> {
    let cell_widths = |row: &mut dyn Iterator<Item = &str>| row.map(width).collect::<Vec<_>>();
    let mut widths = cell_widths(&mut head.iter().copied());
    for row in rows {
        for (known, new) in widths
            .iter_mut()
            .zip(cell_widths(&mut row.iter().map(String::as_str)))
        {
            *known = (*known).max(new);
        }
    }
    let aligned = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells
            .zip(&widths)
            .map(|(cell, wide)| format!("{cell}{}", " ".repeat(wide - width(cell))));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![aligned(&mut head.iter().copied())];
    lines.extend(
        rows.iter()
            .map(|row| aligned(&mut row.iter().map(String::as_str))),
    );
    line(&lines.join("\n"))
}

/// Columns in a terminal: characters of East Asian scripts take two.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(|c| if matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{20000}'..='\u{3fffd}') { 2 } else { 1 }).sum()
}

/// `sealpost settings`.
pub(super) fn settings(settings: &[Setting], as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        let shown = settings.iter().map(|setting| {
            json!({ "key": setting.key, "variable": setting.variable(), "default": setting.default, "help": setting.help })
        });
        return json(&shown.collect());
    }
    let rows: Vec<Vec<String>> = settings
        .iter()
        .map(|setting| {
            vec![
                setting.key.to_owned(),
                setting.variable(),
                setting.default.to_owned(),
                setting.help.to_owned(),
            ]
        })
        .collect();
    table(&["KEY", "VARIABLE", "DEFAULT", "WHAT IT IS FOR"], &rows)
}

#[cfg(test)]
mod tests {
    #[test]
    fn chinese_takes_two_columns() {
        assert_eq!(super::width("张三 a"), 6);
    }
}
