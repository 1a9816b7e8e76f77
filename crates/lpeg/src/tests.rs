//! What patterns are and what a match does, without a script.

use crate::{
    ByteSet, Capture, CaptureKind, LONGEST_BEHIND, MOST_NESTED, MOST_NODES, MOST_RULES, MatchError,
    MatchEvent, Matcher, NO_KEY, Peg, PegCode, PegError, grammar,
};

fn text(bytes: &str) -> Peg {
    Peg::text(bytes.as_bytes()).expect("it is short")
}

/// Where a pattern without functions matches.
fn end(peg: &Peg, subject: &str) -> Option<usize> {
    let code = PegCode::new(peg).expect("it is whole");
    let mut matcher = Matcher::default();
    matcher.start(0, 400);
    loop {
        match matcher.run(&code, subject.as_bytes(), 1000) {
            Ok(MatchEvent::Matched(end)) => return Some(end),
            Ok(MatchEvent::Failed) => return None,
            Ok(MatchEvent::Paused) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_grammar_counts_brackets() {
    let inside = Peg::set(b"()".iter().copied().collect());
    let other = Peg::any(1).and_then(|any| any.minus(&inside));
    let body = other.and_then(|other| other.or(&Peg::call(0)));
    let rule = body
        .and_then(|body| text("(").then(&body.repeat(0)?)?.then(&text(")")))
        .expect("it is made");
    let balanced = grammar(&[rule], |_| Some(0)).expect("it is made");
    assert_eq!(end(&balanced, "(a(b)c)d"), Some(7));
    assert_eq!(end(&balanced, "(a(b)c"), None);
}

#[test]
fn a_pattern_that_may_run_for_ever_is_refused() {
    let empty = Peg::constant(true);
    assert_eq!(empty.repeat(0).err(), Some(PegError::EmptyLoop));
    let left = Peg::call(0).then(&text("a")).expect("it is made");
    let found = grammar(&[left], |_| Some(0)).err();
    assert_eq!(found, Some(PegError::LeftRecursive(0)));
    let looping = Peg::call(1).repeat(0).expect("a call counts as more");
    let found = grammar(&[looping, empty], |key| Some(key as usize)).err();
    assert_eq!(found, Some(PegError::EmptyLoopInRule(0)));
    let found = grammar(&[Peg::call(7)], |_| None).err();
    assert_eq!(found, Some(PegError::Undefined(7)));
    let outside = PegCode::new(&Peg::call(3)).err();
    assert_eq!(outside, Some(PegError::OutsideGrammar(3)));
    // A byte decides here, so that no instruction is needed for the call.
    let optional = Peg::call(3).repeat(-1).expect("it is made");
    let decided = text("a").then(&optional).and_then(|all| all.not());
    let outside = PegCode::new(&decided.expect("it is made")).err();
    assert_eq!(outside, Some(PegError::OutsideGrammar(3)));
}

#[test]
fn what_is_too_large_or_too_deep_is_refused() {
    let letter = text("a");
    let mut doubled = letter.or(&text("bc")).expect("it is small");
    let found = loop {
        match doubled.then(&doubled) {
            Ok(twice) => doubled = twice,
            Err(error) => break error,
        }
    };
    assert_eq!(found, PegError::TooLarge);
    assert_eq!(doubled.repeat(i32::MIN).err(), Some(PegError::TooLarge));
    assert_eq!(doubled.repeat(i32::MAX).err(), Some(PegError::TooLarge));
    let bytes = vec![b'x'; 16 * (MOST_NODES as usize + 1)];
    assert_eq!(Peg::text(&bytes).err(), Some(PegError::TooLarge));
    let rules = vec![letter.clone(); MOST_RULES + 1];
    let found = grammar(&rules, |_| None).err();
    assert_eq!(found, Some(PegError::TooManyRules));
    let long = Peg::any(LONGEST_BEHIND as i32 + 1).and_then(|any| any.behind());
    assert_eq!(long.err(), Some(PegError::TooLongBehind));
    let capture = letter.capture(CaptureKind::Simple, NO_KEY);
    let capture = capture.expect("it is small");
    assert_eq!(capture.behind().err(), Some(PegError::CapturesBehind));
    let any_number = letter.repeat(0).expect("it is small");
    assert_eq!(any_number.behind().err(), Some(PegError::NoFixedLength));
}

// Each level of a pattern takes a piece of the stack. Threads of services have 2 MiB, and may be deep in calls already.
#[test]
fn the_deepest_pattern_needs_little_stack() {
    let deepest = || {
        let mut peg = text("ab");
        for level in 1.. {
            let choice = peg.or(&text("c")).and_then(|peg| peg.then(&text("d")));
            match choice {
                Ok(next) => peg = next,
                Err(error) => {
                    assert_eq!((error, level), (PegError::TooDeep, MOST_NESTED / 2));
                    break;
                }
            }
        }
        let peg = grammar(&[peg], |_| None).expect("it is one level more");
        let deeper = grammar(std::slice::from_ref(&peg), |_| None);
        assert_eq!(deeper.err(), Some(PegError::TooDeep));
        let subject = format!("ab{}", "d".repeat(MOST_NESTED as usize / 2));
        assert_eq!(end(&peg, &subject), Some(subject.len() - 1));
    };
    let thread = std::thread::Builder::new().stack_size(768 * 1024);
    let thread = thread.spawn(deepest).expect("a thread can be made");
    thread.join().expect("it had enough stack");
}

#[test]
fn a_stack_without_room_is_an_error() {
    let nested = text("(").then(&Peg::call(0)).and_then(|open| {
        let closed = open.then(&text(")"))?;
        closed.or(&Peg::constant(true))
    });
    let nested = grammar(&[nested.expect("it is made")], |_| Some(0)).expect("it is made");
    let code = PegCode::new(&nested).expect("it is whole");
    let subject = "(".repeat(100);
    let mut matcher = Matcher::default();
    matcher.start(0, 50);
    let found = matcher.run(&code, subject.as_bytes(), u32::MAX);
    assert_eq!(found, Err(MatchError::StackOverflow(50)));
    matcher.start(0, 500);
    let found = matcher.run(&code, subject.as_bytes(), u32::MAX);
    assert_eq!(found, Ok(MatchEvent::Matched(0)));
}

#[test]
fn a_search_calls_itself_without_a_stack() {
    let next = Peg::any(1).and_then(|any| any.then(&Peg::call(0)));
    let search = text("x")
        .or(&next.expect("it is made"))
        .expect("it is made");
    let search = grammar(&[search], |_| Some(0)).expect("it is made");
    assert_eq!(
        end(&search, &format!("{}x", "a".repeat(10_000))),
        Some(10_001)
    );
}

#[test]
fn a_long_match_pauses_and_goes_on() {
    let pair = text("a").or(&text("bc")).and_then(|pair| pair.repeat(0));
    let code = PegCode::new(&pair.expect("it is made")).expect("it is whole");
    let subject = "abc".repeat(1000);
    let mut matcher = Matcher::default();
    matcher.start(0, 400);
    let mut pauses = 0;
    while matcher.run(&code, subject.as_bytes(), 10) == Ok(MatchEvent::Paused) {
        pauses += 1;
    }
    assert!((100..1000).contains(&pauses), "{pauses}");
    let span = Peg::set(ByteSet::range(b'a', b'c')).repeat(0);
    let spans = span.and_then(|span| span.then(&text("d"))?.or(&Peg::any(1)?));
    let code = PegCode::new(&spans.expect("it is made")).expect("it is whole");
    matcher.start(0, 400);
    // Bytes count, too: a few instructions may look at very many.
    let found = matcher.run(&code, subject.as_bytes(), 100);
    assert_eq!(found, Ok(MatchEvent::Paused));
}

#[test]
fn a_function_decides_and_its_values_replace_the_captures_in_its_group() {
    let letter = Peg::any(1).and_then(|any| any.capture(CaptureKind::Simple, NO_KEY));
    let asked = letter.and_then(|letter| letter.match_time(5));
    let code = asked.and_then(|asked| PegCode::new(&asked.or(&Peg::any(2)?)?));
    let code = code.expect("it is made");
    let mut matcher = Matcher::default();
    let question = Ok(MatchEvent::MatchTime {
        group: 0,
        position: 1,
    });
    matcher.start(0, 400);
    assert_eq!(matcher.run(&code, b"abc", 100), question);
    assert_eq!(matcher.captures()[0].key, 5);
    assert_eq!(matcher.captures().len(), 3);
    assert_eq!(matcher.agree(0, 3, 0, 1), Ok(()));
    assert_eq!(matcher.run(&code, b"abc", 100), Ok(MatchEvent::Matched(3)));
    let expected = [
        Capture::open(CaptureKind::Group, 0, NO_KEY),
        Capture::whole(CaptureKind::MatchTime, 3, 0, 0),
        Capture::close(3),
    ];
    assert_eq!(matcher.captures(), expected);
    matcher.start(0, 400);
    assert_eq!(matcher.run(&code, b"abc", 100), question);
    assert_eq!(matcher.refuse(), None);
    assert_eq!(matcher.run(&code, b"abc", 100), Ok(MatchEvent::Matched(2)));
    assert_eq!(matcher.captures(), []);
}

#[test]
fn too_many_captures_are_an_error() {
    let place = Peg::constant(true).capture(CaptureKind::Position, NO_KEY);
    let places = place.and_then(|place| place.then(&text("a"))?.repeat(0));
    let code = PegCode::new(&places.expect("it is made")).expect("it is whole");
    let subject = vec![b'a'; crate::MOST_CAPTURES + 1];
    let mut matcher = Matcher::default();
    matcher.start(0, 400);
    let found = matcher.run(&code, &subject, u32::MAX);
    assert_eq!(found, Err(MatchError::TooManyCaptures));
}
