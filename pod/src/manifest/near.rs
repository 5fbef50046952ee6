//! The word that was probably meant.

/// The known word nearest to `word`, if one is near: another spelling of capitals, or no more than two
/// letters away (one, of a short word).
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let far = if word.len() < 5 { 1 } else { 2 };
    known
        .map(|other| (distance(&lower, &other.to_lowercase()), other))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// How many letters must be put in, taken out, changed, or swapped with the next.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let mut least = (row[j] + usize::from(a != b)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && one[i - 1] == *b && other[j - 1] == *a {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_word_is_one_that_was_probably_meant() {
        let known = ["ports", "env", "envFrom", "image", "imagePullPolicy", "args"];
        for (word, meant) in [
            ("prots", Some("ports")),
            ("port", Some("ports")),
            ("envfrom", Some("envFrom")),
            ("imagePulPolicy", Some("imagePullPolicy")),
            ("arsg", Some("args")),
            ("evn", Some("env")),
            ("volumes", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), meant, "{word}");
        }
    }
}
