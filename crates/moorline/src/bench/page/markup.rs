//! Text as HTML, and numbers as people read them.

use std::fmt::{self, Write};

/// Text that is shown as it is, whatever it holds.
pub(super) struct Escaped<T>(pub(super) T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                '&' => f.write_str("&amp;"),
                '<' => f.write_str("&lt;"),
                '>' => f.write_str("&gt;"),
                '"' => f.write_str("&quot;"),
                '\'' => f.write_str("&#39;"),
                c => f.write_char(c),
            }?;
        }
        Ok(())
    }
}

/// A whole number in groups of three digits.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with as many digits as one reads: none after the point from 100 on.
pub(super) fn decimal(value: f64) -> String {
    match value {
        value if !value.is_finite() => "–".to_owned(),
        value if value.abs() >= 99.95 => match value < 0.0 {
            true => format!("−{}", number(-value.round() as u64)),
            false => number(value.round() as u64),
        },
        value if value.abs() >= 9.995 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// A part of all, in percent.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_owned(),
        value if value < 0.001 => "< 0.001 %".to_owned(),
        value if value < 1.0 => format!("{value:.3} %"),
        value => format!("{value:.1} %"),
    }
}

/// A table: what it is about, the names of its columns, its rows. The first cell of a row names it.
pub(super) fn table(caption: &str, heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!(
        "<div class=\"scroll\" tabindex=\"0\"><table aria-label=\"{}\"><thead><tr>",
        Escaped(caption)
    );
    for head in heads {
        // A string takes every write.
        let _ = write!(text, "<th scope=\"col\">{}</th>", Escaped(head));
    }
    text.push_str("</tr></thead><tbody>");
    for row in rows {
        text.push_str("<tr>");
        for (at, cell) in row.iter().enumerate() {
            let cell = Escaped(cell);
            let _ = match at {
                0 => write!(text, "<th scope=\"row\">{cell}</th>"),
                _ => write!(text, "<td>{cell}</td>"),
            };
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>\n");
    text
}

/// Names with their values.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let mut text = "<dl>".to_owned();
    for (name, value) in facts {
        let _ = write!(
            text,
            "<dt>{}</dt><dd>{}</dd>",
            Escaped(name),
            Escaped(value)
        );
    }
    text + "</dl>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_text_is_text() {
        let text = Escaped("<script>\"a\" & 'b'</script>").to_string();
        assert_eq!(
            text,
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;"
        );
    }

    #[test]
    fn numbers_are_grouped_and_rounded() {
        let shown = [0, 999, 1000, 1_234_567].map(number);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
        let shown = [1.005, 42.0, 99.96, 1e7, f64::NAN, -2000.0].map(decimal);
        assert_eq!(shown, ["1.00", "42.0", "100", "10,000,000", "–", "−2,000"]);
        let shown = [0.0, 0.000_001, 0.0015, 0.5].map(percent);
        assert_eq!(shown, ["0 %", "< 0.001 %", "0.150 %", "50.0 %"]);
    }
}
