//! What a misspelled name was probably meant to be.

/// The most letters that a suggestion may differ in.
const MAX_DISTANCE: usize = 3;

/// The known name that is spelled most like `name`, if one is near enough. How levels are
/// separated and letters' case do not count; a name whose last level alone is right is farther
/// than any misspelled one.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let wanted = flat(name);
    let allowed = (wanted.chars().count() / 3).clamp(1, MAX_DISTANCE);
    known
        .filter_map(|candidate| {
            let distance = edit_distance(&wanted, &flat(candidate));
            if distance <= allowed {
                return Some((distance, candidate));
            }
            let last = flat(last_level(candidate));
            let same_end = wanted
                .strip_suffix(&last)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('_'));
            same_end.then_some((MAX_DISTANCE + 1, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// `limits.max_message`, `limits.max-message` and `FANFARE_LIMITS__MAX_MESSAGE` in one form.
fn flat(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let bare = lower.strip_prefix("fanfare_").unwrap_or(&lower);
    bare.replace(['.', '-'], "_").replace("__", "_")
}

fn last_level(name: &str) -> &str {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.rsplit("__").next().unwrap_or(last)
}

/// How many letters must be changed, added, removed or swapped with their neighbour to make one
/// word of the other (optimal string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Three rows of the table are enough: this one, the one above and the one above that.
    let mut above2: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substituted = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substituted.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(above2[j - 2] + 1);
            }
        }
        above2 = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_changed_added_removed_and_swapped_letters() {
        for (a, b, distance) in [
            ("", "", 0),
            ("", "ab", 2),
            ("listen", "lisen", 1),
            ("listen", "lisetn", 1),
            ("listen", "kisten", 1),
            ("history", "histroy", 1),
            ("abc", "xyz", 3),
        ] {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
            assert_eq!(edit_distance(b, a), distance, "{b} {a}");
        }
    }

    #[test]
    fn nothing_near_is_nothing_suggested() {
        assert_eq!(nearest("xyzzy", ["listen", "node"].into_iter()), None);
    }
}
