//! Charts as SVG, made on the server from numbers: no script, no style attribute, no other host. Colours come from the style
//! sheet by class, and every bar says its numbers in a `<title>`.

use std::fmt::Write as _;

/// A day of the chart of flows.
pub(crate) struct Day {
    /// Its date, for people.
    pub(crate) label: String,
    /// How many flows of each series, in the order of [`SERIES`].
    pub(crate) counts: [u64; 3],
}

/// The classes of the series, from the bottom up: completed, under way, ended otherwise.
pub(crate) const SERIES: [&str; 3] = ["s-done", "s-open", "s-stop"];

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 200.0;
const BOTTOM: f64 = 24.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;

/// Stacked bars, a day each, with three lines to read the height by. `names` are the series in words,
/// `label` says what the chart shows.
pub(crate) fn days(days: &[Day], names: [&str; 3], label: &str) -> String {
    let highest = days
        .iter()
        .map(|day| day.counts.iter().sum::<u64>())
        .max()
        .unwrap_or(0);
    let top = ceiling(highest);
    let height = HEIGHT - BOTTOM - TOP;
    let scale = height / top as f64;
    let step = (WIDTH - LEFT - RIGHT) / days.len().max(1) as f64;
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(label)
    );
    for part in [0, 1, 2] {
        let value = top * part / 2;
        let y = HEIGHT - BOTTOM - value as f64 * scale;
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{WIDTH}\"/><text class=\"axis end\" x=\"{}\" y=\"{:.1}\">{value}</text>",
            LEFT - 8.0,
            y + 4.0
        );
    }
    let every = days.len().div_ceil(6).max(1);
    for (place, day) in days.iter().enumerate() {
        let x = LEFT + place as f64 * step + step * 0.16;
        let width = step * 0.68;
        let mut y = HEIGHT - BOTTOM;
        let words: Vec<String> = names
            .iter()
            .zip(day.counts)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        let _ = write!(
            svg,
            "<g><title>{} · {}</title>",
            escape(&day.label),
            escape(&words.join(" · "))
        );
        let _ = write!(
            svg,
            "<rect class=\"hit\" x=\"{x:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"/>"
        );
        for (class, count) in SERIES.iter().zip(day.counts) {
            let tall = count as f64 * scale;
            if count > 0 {
                y -= tall;
                let _ = write!(
                    svg,
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{tall:.1}\"/>"
                );
            }
        }
        svg.push_str("</g>");
        if (days.len() - 1 - place).is_multiple_of(every) {
            let middle = x + width / 2.0;
            let _ = write!(
                svg,
                "<text class=\"axis mid\" x=\"{middle:.1}\" y=\"{}\">{}</text>",
                HEIGHT - 6.0,
                escape(&day.label)
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

/// One bar of parts side by side, 100 wide, of the given classes.
pub(crate) fn share(parts: &[(&str, u64)]) -> String {
    let all = parts.iter().map(|(_, count)| count).sum::<u64>().max(1) as f64;
    let mut svg = String::from(
        "<svg class=\"share\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"none\" width=\"100\" height=\"6\"/>",
    );
    let mut x = 0.0;
    for (class, count) in parts {
        let width = *count as f64 * 100.0 / all;
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{x:.2}\" width=\"{width:.2}\" height=\"6\"/>"
        );
        x += width;
    }
    svg.push_str("</svg>");
    svg
}

/// The next even number of the form 2, 4, 6, 10, 20, 40, 60, 100, … that is at least `highest`.
fn ceiling(highest: u64) -> u64 {
    let mut unit: u64 = 1;
    loop {
        for step in [2, 4, 6, 10] {
            if let Some(value) = unit.checked_mul(step)
                && value >= highest
            {
                return value;
            }
        }
        match unit.checked_mul(10) {
            Some(next) => unit = next,
            None => return u64::MAX,
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_ends_at_a_round_number() {
        for (highest, end) in [
            (0, 2),
            (2, 2),
            (3, 4),
            (7, 10),
            (11, 20),
            (45, 60),
            (61, 100),
            (999, 1000),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(ceiling(highest), end, "{highest}");
        }
    }

    #[test]
    fn bars_stand_on_each_other_and_say_their_numbers() {
        let svg = days(
            &[Day {
                label: "11-24 <b>".into(),
                counts: [1, 1, 0],
            }],
            ["完成", "进行", "终止"],
            "流程",
        );
        assert!(
            svg.contains("<title>11-24 &lt;b> · 完成 1 · 进行 1 · 终止 0</title>"),
            "{svg}"
        );
        assert_eq!(svg.matches("s-done").count(), 1);
        assert_eq!(svg.matches("s-stop").count(), 0);
        assert!(!svg.contains("style="));
    }
}
