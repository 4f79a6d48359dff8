//! Every case of `vectors/`.

use std::collections::HashSet;

use sealpost_contract::{Answer, Callback, answer, vectors};

#[test]
fn every_request_is_answered_as_the_vectors_say() {
    for case in vectors::requests() {
        let answer = match Callback::parse(case.body.as_bytes()) {
            Ok(_) => Answer::Acknowledged,
            Err(_) => Answer::Malformed,
        };
        assert_eq!(answer.code(), case.answer, "{}", case.name);
    }
}

#[test]
fn every_answer_is_judged_as_the_vectors_say() {
    for case in vectors::answers() {
        let judged = answer::judge(case.http_status, case.body.as_bytes());
        assert_eq!(
            judged.is_ok(),
            case.acknowledged,
            "{}: {judged:?}",
            case.name
        );
    }
}

#[test]
fn no_two_cases_have_one_name() {
    let mut names = HashSet::new();
    for case in vectors::requests() {
        assert!(names.insert(case.name.clone()), "{}", case.name);
    }
    names.clear();
    for case in vectors::answers() {
        assert!(names.insert(case.name.clone()), "{}", case.name);
    }
}

/// A receiver of ours never answers what a sender of ours would misread.
#[test]
fn only_the_acknowledgement_acknowledges() {
    use Answer::{Acknowledged, Conflict, Internal, Malformed, TooLarge, Unsigned};
    for given in [
        Acknowledged,
        Malformed,
        Unsigned,
        Conflict,
        TooLarge,
        Internal,
    ] {
        let judged = answer::judge(given.http_status(), given.body().as_bytes());
        assert_eq!(judged.is_ok(), given == Acknowledged, "{given:?}");
        // The body alone says the same, for a sender that looks at nothing else.
        assert_eq!(
            answer::judge(200, given.body().as_bytes()).is_ok(),
            given == Acknowledged
        );
        assert_eq!(
            given.body(),
            format!(r#"{{"response_code":"{}"}}"#, given.code())
        );
    }
}
