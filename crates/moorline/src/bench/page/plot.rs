//! A chart with its axes, and the table behind it.

use std::fmt::Write;

use super::markup::{Escaped, table};

/// A chart. Places on it are parts of its width and height, from 0 to 1, from the lower left.
pub(super) struct Plot {
    title: String,
    /// What a reader should see in it, or hear about it.
    caption: String,
    shapes: String,
    marks: String,
    ticks: String,
    table: String,
}

/// Units of the drawing from edge to edge; it is stretched to the width of the page.
const EXTENT: f64 = 1000.0;

impl Plot {
    pub(super) fn new(title: &str, caption: String) -> Self {
        Self {
            title: title.to_owned(),
            caption,
            shapes: String::new(),
            marks: String::new(),
            ticks: String::new(),
            table: String::new(),
        }
    }

    /// The table behind it.
    pub(super) fn table(mut self, heads: &[&str], rows: &[Vec<String>]) -> Self {
        self.table = table(&self.title, heads, rows);
        self
    }

    /// A line across, with what it stands for.
    pub(super) fn across(&mut self, at: f64, label: &str) {
        let y = y(at);
        // A string takes every write.
        let _ = write!(
            self.shapes,
            "<line class=\"grid\" x1=\"0\" x2=\"{EXTENT}\" y1=\"{y:.1}\" y2=\"{y:.1}\" vector-effect=\"non-scaling-stroke\"/>"
        );
        let top = (1.0 - at.clamp(0.0, 1.0)) * 100.0;
        let _ = write!(
            self.marks,
            "<span style=\"top:calc({top:.1}% + .2rem)\">{}</span>",
            Escaped(label)
        );
    }

    /// A label below.
    pub(super) fn tick(&mut self, at: f64, label: &str) {
        let kind = match at {
            at if at < 0.04 => " class=\"first\"",
            at if at > 0.96 => " class=\"last\"",
            _ => "",
        };
        let left = at.clamp(0.0, 1.0) * 100.0;
        let _ = write!(
            self.ticks,
            "<span{kind} style=\"left:{left:.1}%\">{}</span>",
            Escaped(label)
        );
    }

    /// A bar from the bottom. One that is not empty can be seen.
    pub(super) fn bar(&mut self, from: f64, to: f64, height: f64, kind: &str) {
        if height <= 0.0 {
            return;
        }
        let height = height.clamp(0.008, 1.0);
        let (x, width) = (x(from), (x(to) - x(from)) * 0.92);
        let (top, tall) = (y(height), height * EXTENT);
        let _ = write!(
            self.shapes,
            "<rect class=\"{kind}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{tall:.1}\"/>"
        );
    }

    /// A line through places that follow each other.
    pub(super) fn line(&mut self, places: &[(f64, f64)], kind: &str) {
        let points = points(places);
        let _ = write!(
            self.shapes,
            "<polyline class=\"{kind}\" points=\"{points}\" vector-effect=\"non-scaling-stroke\"/>"
        );
    }

    /// What lies below such a line.
    pub(super) fn area(&mut self, places: &[(f64, f64)], kind: &str) {
        let (Some(first), Some(last)) = (places.first(), places.last()) else {
            return;
        };
        let all = [&[(first.0, 0.0)], places, &[(last.0, 0.0)]].concat();
        let _ = write!(
            self.shapes,
            "<polygon class=\"area {kind}\" points=\"{}\"/>",
            points(&all)
        );
    }

    pub(super) fn into_html(self) -> String {
        let Self {
            title,
            caption,
            shapes,
            marks,
            ticks,
            table,
        } = self;
        let (title, caption) = (Escaped(title), Escaped(caption));
        format!(
            "<section><h2>{title}</h2><figure><figcaption>{caption}</figcaption>\n\
             <div class=\"plot\"><svg viewBox=\"0 0 {EXTENT} {EXTENT}\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{title}. {caption} The table below has the numbers.\">{shapes}</svg>{marks}</div>\n\
             <div class=\"ticks\" aria-hidden=\"true\">{ticks}</div></figure>\n\
             <details><summary>{title} as a table</summary>{table}</details></section>\n"
        )
    }
}

fn points(places: &[(f64, f64)]) -> String {
    let mut text = String::new();
    for (at, height) in places {
        let _ = write!(text, "{:.1},{:.1} ", x(*at), y(*height));
    }
    text
}

fn x(at: f64) -> f64 {
    place(at) * EXTENT
}

fn y(height: f64) -> f64 {
    (1.0 - place(height)) * EXTENT
}

/// A number that comes from a file may be anything.
fn place(at: f64) -> f64 {
    match at.is_finite() {
        true => at.clamp(0.0, 1.0),
        false => 0.0,
    }
}
