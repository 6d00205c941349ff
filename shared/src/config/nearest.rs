//! What a misspelled name was probably meant to be.

use strsim::osa_distance;

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
            // Letters changed, added, removed, or swapped with their neighbour.
            let distance = osa_distance(&wanted, &flat(candidate));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_changed_added_removed_or_swapped_is_one_mistake() {
        // Of four letters one may be wrong.
        for misspelled in ["mode", "nodes", "noe", "noed"] {
            let found = nearest(misspelled, ["listen", "node"].into_iter());
            assert_eq!(found.as_deref(), Some("node"), "{misspelled}");
        }
        assert_eq!(nearest("onedd", ["node"].into_iter()), None);
    }

    #[test]
    fn nothing_near_is_nothing_suggested() {
        assert_eq!(nearest("xyzzy", ["listen", "node"].into_iter()), None);
    }
}
