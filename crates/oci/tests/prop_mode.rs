//! Laws of file modes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use stave_oci::mode::{MODE_MAX, ModeChange};

fn symbolic() -> impl Strategy<Value = String> {
    let action = "[-+=]([rwxXst]{0,6}|[ugo])";
    let clause =
        ("[ugoa]{0,3}", prop::collection::vec(action, 1..3)).prop_map(|(who, actions)| who + &actions.concat());
    prop::collection::vec(clause, 1..4).prop_map(|clauses| clauses.join(","))
}

proptest! {
    /// What is shown means the same, for any mode.
    #[test]
    fn a_change_survives_its_text(text in symbolic(), mode in 0..=MODE_MAX, is_dir: bool) {
        let change = ModeChange::parse(&text).unwrap();
        let again = ModeChange::parse(&change.to_string()).unwrap();
        prop_assert_eq!(again.apply(mode, is_dir), change.apply(mode, is_dir));
        prop_assert_eq!(again.to_string(), change.to_string());
    }

    #[test]
    fn no_bit_is_made_up(text in symbolic(), mode: u32, is_dir: bool) {
        let changed = ModeChange::parse(&text).unwrap().apply(mode, is_dir);
        prop_assert!(changed <= MODE_MAX);
    }

    /// A clause leaves alone who it does not name.
    #[test]
    fn others_are_left_alone(actions in "[-+=][rwxXs]{0,5}", mode in 0..=MODE_MAX, is_dir: bool) {
        let user = ModeChange::parse(&format!("u{actions}")).unwrap().apply(mode, is_dir);
        prop_assert_eq!(user & 0o3077, mode & 0o3077);
        let others = ModeChange::parse(&format!("o{actions}")).unwrap().apply(mode, is_dir);
        prop_assert_eq!(others & 0o7770, mode & 0o7770);
    }

    #[test]
    fn adding_and_removing_twice_is_once(who in "[ugoa]{0,2}", operator in "[-+]", permissions in "[rwxst]{0,5}", mode in 0..=MODE_MAX, is_dir: bool) {
        let change = ModeChange::parse(&format!("{who}{operator}{permissions}")).unwrap();
        let once = change.apply(mode, is_dir);
        prop_assert_eq!(change.apply(once, is_dir), once);
    }

    #[test]
    fn parsing_is_total(text in "[ugoarwxXst0-9+=,-]{0,12}|\\PC{0,12}") {
        if let Err(error) = ModeChange::parse(&text) {
            prop_assert_eq!(error.text, text);
        }
    }

    #[test]
    fn octal_is_absolute(wanted in 0..=MODE_MAX, mode: u32, is_dir: bool) {
        let change = ModeChange::parse(&format!("{wanted:o}")).unwrap();
        prop_assert_eq!(change.apply(mode, is_dir), wanted);
        prop_assert_eq!(change.to_string(), format!("{wanted:o}"));
    }
}
