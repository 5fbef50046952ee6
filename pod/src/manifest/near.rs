//! The word that was probably meant.

use strsim::osa_distance;

/// The known word nearest to `word`, if one is near: another spelling of capitals, or no more than two
/// letters away (one, of a short word).
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let far = if word.len() < 5 { 1 } else { 2 };
    known
        .map(|other| (osa_distance(&lower, &other.to_lowercase()), other))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
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
