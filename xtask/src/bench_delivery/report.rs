//! The tables and the plot.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use super::run::{Delivered, Drained};

/// What was measured, medians with the range of the runs.
#[derive(Debug, Default)]
pub(crate) struct Report {
    limits: Vec<(String, Spread)>,
    /// One of each database that was measured.
    databases: Vec<Tables>,
}

/// What was measured over one database.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    database: &'static str,
    deliveries: Vec<(String, Vec<Delivered>)>,
    backlogs: Vec<(String, Vec<Drained>)>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    least: f64,
    pub(crate) median: f64,
    most: f64,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            least: *values.first()?,
            median: values[values.len() / 2],
            most: *values.last()?,
        })
    }

    pub(crate) fn show(self, digits: usize) -> String {
        if self.least == self.most {
            return number(self.median, digits);
        }
        format!(
            "{} ({}–{})",
            number(self.median, digits),
            number(self.least, digits),
            number(self.most, digits)
        )
    }
}

/// With a comma between thousands.
pub(crate) fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text.as_str(), None), |(whole, fraction)| {
            (whole, Some(fraction))
        });
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

impl Report {
    pub(crate) fn limit(&mut self, name: &str, per_second: Vec<f64>) {
        self.limits
            .extend(Spread::of(per_second.into_iter()).map(|spread| (name.to_owned(), spread)));
    }

    pub(crate) fn database(&mut self, tables: Tables) {
        self.databases.push(tables);
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        if !self.limits.is_empty() {
            text += "| the limit | a second |\n|---|---:|\n";
            for (name, spread) in &self.limits {
                let _ = writeln!(text, "| {name} | {} |", spread.show(0));
            }
            text.push('\n');
        }
        for tables in &self.databases {
            let _ = write!(text, "### {}\n\n{}", tables.database, tables.markdown());
        }
        text
    }

    /// Replaces the measured part of `delivery.md` and the plot.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        const BEGIN: &str = "<!-- measured: written by cargo xtask bench delivery --write -->";
        const END: &str = "<!-- end of measured -->";
        std::fs::create_dir_all(folder)?;
        let path = folder.join("delivery.md");
        let before = std::fs::read_to_string(&path)
            .unwrap_or_else(|_| format!("# Delivery, measured\n\n{BEGIN}\n{END}\n"));
        let (head, rest) = before.split_once(BEGIN).unwrap_or((before.as_str(), ""));
        let (_, tail) = rest.split_once(END).unwrap_or(("", "\n"));
        let text = format!(
            "{head}{BEGIN}\n\n![callbacks a second](delivery.svg)\n\n{}\n{END}{tail}",
            self.markdown()
        );
        std::fs::write(path, text)?;
        Ok(std::fs::write(folder.join("delivery.svg"), self.plot())?)
    }

    /// Bars of what was reached a second, beside the limits.
    fn plot(&self) -> String {
        let rates = self.databases.iter().flat_map(|tables| {
            tables.deliveries.iter().filter_map(|(name, runs)| {
                name.contains("fast").then_some(())?;
                Some((
                    format!("{}: {name}", tables.database),
                    Spread::of(runs.iter().map(|run| run.per_second))?,
                    "#2a6f97",
                ))
            })
        });
        let limits = self.limits.iter();
        let limits = limits.map(|(name, spread)| (name.clone(), *spread, "#a9b4c2"));
        let bars: Vec<(String, Spread, &str)> = limits.chain(rates).collect();
        let widest = bars
            .iter()
            .map(|(_, spread, _)| spread.most)
            .fold(1.0, f64::max);
        let height = 20 + 44 * bars.len();
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 {height}\" font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"720\" height=\"{height}\" fill=\"#fff\"/>\n"
        );
        for (place, (name, spread, colour)) in bars.iter().enumerate() {
            let y = 20 + 44 * place;
            let x = |value: f64| 10.0 + value / widest * 580.0;
            let _ = writeln!(
                svg,
                "<text x=\"10\" y=\"{}\" fill=\"#333\">{name}</text>",
                y + 2
            );
            let _ = writeln!(
                svg,
                "<rect x=\"10\" y=\"{}\" width=\"{:.1}\" height=\"18\" fill=\"{colour}\"/>",
                y + 8,
                x(spread.median) - 10.0
            );
            let _ = writeln!(
                svg,
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{}\" y2=\"{}\" stroke=\"#222\"/>",
                x(spread.least),
                x(spread.most),
                y + 17,
                y + 17
            );
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" fill=\"#222\">{}</text>",
                x(spread.most) + 8.0,
                y + 22,
                number(spread.median, 0)
            );
        }
        svg + "</svg>\n"
    }
}

impl Tables {
    /// Empty ones, of this database.
    pub(crate) fn new(database: &'static str) -> Tables {
        Tables {
            database,
            ..Tables::default()
        }
    }

    pub(crate) fn delivery(&mut self, name: &str, runs: Vec<Delivered>) {
        if !runs.is_empty() {
            self.deliveries.push((name.to_owned(), runs));
        }
    }

    pub(crate) fn backlog(&mut self, name: &str, runs: Vec<Drained>) {
        if !runs.is_empty() {
            self.backlogs.push((name.to_owned(), runs));
        }
    }

    /// The median rate of the delivery that was measured last.
    pub(crate) fn last_rate(&self) -> Option<f64> {
        let (_, runs) = self.deliveries.last()?;
        Some(Spread::of(runs.iter().map(|run| run.per_second))?.median)
    }

    fn markdown(&self) -> String {
        let mut text = String::new();
        let show = |spread: Option<Spread>, digits| {
            spread.map_or(String::new(), |spread| spread.show(digits))
        };
        // Only a server of its own has a CPU time of its own.
        let has_server = self
            .deliveries
            .iter()
            .any(|(_, runs)| runs.iter().any(|run| run.database_cpu > 0.0));
        if !self.deliveries.is_empty() {
            let (column, rule) = if has_server {
                (" its own CPU s / 10,000 |", "---:|")
            } else {
                ("", "")
            };
            let _ = writeln!(
                text,
                "| end to end | callbacks/s | ack to arrival p50, ms | p99, ms | server CPU s / 10,000 |{column} loader + receiver CPU s / 10,000 | peak MB | lost | again |\n\
                 |---|---:|---:|---:|---:|{rule}---:|---:|---:|---:|"
            );
            for (name, runs) in &self.deliveries {
                let of = |value: fn(&Delivered) -> f64, digits| {
                    show(Spread::of(runs.iter().map(value)), digits)
                };
                let database = if has_server {
                    format!(" {} |", of(|run| run.database_cpu, 2))
                } else {
                    String::new()
                };
                let _ = writeln!(
                    text,
                    "| {name} | {} | {} | {} | {} |{database} {} | {} | {} | {} |",
                    of(|run| run.per_second, 0),
                    of(|run| run.p50, 2),
                    of(|run| run.p99, 2),
                    of(|run| run.server_cpu, 2),
                    of(|run| run.other_cpu, 2),
                    of(|run| run.memory, 0),
                    runs.iter().map(|run| run.lost).sum::<u64>(),
                    runs.iter().map(|run| run.again).sum::<u64>(),
                );
            }
            text.push('\n');
        }
        if !self.backlogs.is_empty() {
            text += "| waiting, of a paused channel | start-up, ms | another channel's callbacks/s | server CPU s / 10,000 | drained/s when resumed | peak MB |\n|---|---:|---:|---:|---:|---:|\n";
            for (name, runs) in &self.backlogs {
                let of = |value: fn(&Drained) -> f64, digits| {
                    show(Spread::of(runs.iter().map(value)), digits)
                };
                let _ = writeln!(
                    text,
                    "| {name} | {} | {} | {} | {} | {} |",
                    of(|run| run.start_up, 0),
                    of(|run| run.per_second, 0),
                    of(|run| run.server_cpu, 2),
                    of(|run| run.drained, 0),
                    of(|run| run.memory, 0),
                );
            }
            text.push('\n');
        }
        text
    }
}
