//! The known word that a mistyped one probably means.

/// The known word nearest to `word`, if it is near enough to be a slip of the fingers.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong; more is another word.
    let limit = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, remove or replace, and neighbours to swap (optimal string alignment).
fn distance(from: &str, to: &str) -> usize {
    // A text of this length is no slip, and the work grows with the product of the lengths.
    if from.len() > 64 {
        return usize::MAX;
    }
    let letters = |word: &str| word.to_ascii_lowercase().chars().collect::<Vec<_>>();
    let (from, to) = (letters(from), letters(to));
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let above = &rows[i - 1];
            let replaced = above[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = replaced.min(row[j - 1] + 1).min(above[j] + 1);
            let are_swapped =
                i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
            if are_swapped {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["count", "max_wait", "dispatch"];
        assert_eq!(nearest("cuont", known), Some("count"));
        assert_eq!(nearest("cuonr", known), None); // three of five letters
        assert_eq!(nearest("coun", known), Some("count"));
        assert_eq!(nearest("max-wait", known), Some("max_wait"));
        assert_eq!(nearest("Dispatch", known), Some("dispatch"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}
