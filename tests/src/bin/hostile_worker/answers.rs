//! Answers to plain requests that no honest worker gives.

use std::io;

use moorline_engine::wire::exchange::{AnswerHead, write_answer_head};
use moorline_engine::wire::{FAILED, FromProcess, LAST};
use moorline_ipc::Header;

use crate::misuse::{STEP, forever};
use crate::raw_ring::RawRegion;
use crate::worker::Worker;

/// What a request's path has if it is to be answered by a misuse.
pub(crate) const HELD: &[u8] = b"/app/held";
/// The payload of a whole answer.
const ANSWER: &[u8] = b"hostile";

/// A record of an answer: its kind, its flags, its payload.
type Step = (FromProcess, u8, Vec<u8>);

/// An honest answer.
pub(crate) fn honest() -> Vec<u8> {
    [&head(Some(ANSWER.len() as u64))[..], ANSWER].concat()
}

/// Answers the requests that it holds like this, and goes on.
pub(crate) fn carry_out(worker: &Worker, what: &str) -> io::Result<()> {
    use FromProcess::{Body, Respond};
    let begun = (Respond, 0, head(None));
    let piece = (Body, 0, vec![b'x'; 10_000]);
    let steps: Vec<Step> = match what {
        "two-heads" => vec![begun.clone(), begun],
        "two-answers" => vec![(Respond, LAST, honest()), (Respond, LAST, honest())],
        "body-first" => vec![piece],
        "body-last" => vec![(Respond, LAST, honest()), (Body, LAST, ANSWER.to_vec())],
        "endless" => return endless(worker, &begun, &piece),
        "head-only" => vec![begun],
        "half" => vec![(Respond, 0, head(Some(1000))), piece_of(500)],
        "longer" => vec![(Respond, 0, head(Some(10))), piece_of(11)],
        "shorter" => vec![(Respond, 0, head(Some(10))), (Body, LAST, vec![b'x'; 9])],
        "longest" => vec![(Respond, LAST, head(Some(u64::MAX)))],
        "no-head" => vec![(Respond, LAST, vec![0xff; 100])],
        "large-head" => vec![(Respond, LAST, large_head())],
        "split-head" => vec![(Respond, LAST, split_head("X", b"a\r\n\r\nHTTP/1.1 200 OK"))],
        "own-length" => vec![(Respond, LAST, split_head("Content-Length", b"3"))],
        "chunks" => vec![(Respond, LAST, split_head("Transfer-Encoding", b"chunked"))],
        "failing-on" => vec![(Respond, FAILED, Vec::new()), begun],
        "failed-twice" => vec![
            (Respond, LAST | FAILED, Vec::new()),
            (Body, LAST | FAILED, Vec::new()),
        ],
        "unasked" => return unasked(worker),
        "foreign" => return foreign(worker),
        _ => return Err(io::Error::other(format!("no such answer: {what}"))),
    };
    for (place, number) in &worker.requests {
        for step in &steps {
            write(worker, *place, *number, step)?;
        }
    }
    forever(|| std::thread::sleep(STEP))
}

fn piece_of(bytes: usize) -> Step {
    (FromProcess::Body, 0, vec![b'x'; bytes])
}

/// As much of a body as the loop takes, and more.
fn endless(worker: &Worker, begun: &Step, piece: &Step) -> io::Result<()> {
    for (place, number) in &worker.requests {
        write(worker, *place, *number, begun)?;
    }
    forever(|| {
        for (place, number) in &worker.requests {
            let _ = write(worker, *place, *number, piece);
        }
    })
}

/// Answers to requests that there are none of.
fn unasked(worker: &Worker) -> io::Result<()> {
    let mut number = 1 << 40;
    forever(|| {
        for place in 0..worker.links.len() {
            let _ = write(
                worker,
                place,
                number,
                &(FromProcess::Respond, LAST, honest()),
            );
        }
        number += 1;
        std::thread::sleep(STEP);
    })
}

/// Answers to requests of the other worker: their numbers are next to its own.
fn foreign(worker: &Worker) -> io::Result<()> {
    let near = worker.requests.last().map_or(0, |(_, number)| *number);
    let mut step = 0;
    forever(|| {
        let number = (near + step % 64).saturating_sub(32);
        let is_its_own = worker.requests.iter().any(|(_, its)| *its == number);
        for place in (0..worker.links.len()).filter(|_| !is_its_own) {
            let answer = (FromProcess::Respond, LAST, honest());
            let _ = write(worker, place, number, &answer);
        }
        step += 1;
        std::thread::sleep(STEP);
    })
}

fn write(worker: &Worker, place: usize, number: u64, step: &Step) -> io::Result<bool> {
    let (kind, flags, payload) = step;
    let header = Header {
        kind: *kind as u8,
        flags: *flags,
        session: number,
        ..Header::default()
    };
    let link = &worker.links[place];
    let is_written = RawRegion::new(&link.region)?.push(&header, payload);
    link.doorbell.ring();
    Ok(is_written)
}

fn head(length: Option<u64>) -> Vec<u8> {
    write_answer_head(&AnswerHead {
        status: 200,
        fields: Vec::new(),
        length,
    })
}

fn large_head() -> Vec<u8> {
    let field = |number| (format!("X-{number}"), vec![b'v'; 1000]);
    write_answer_head(&AnswerHead {
        status: 200,
        fields: (0..40).map(field).collect(),
        length: Some(0),
    })
}

fn split_head(name: &str, value: &[u8]) -> Vec<u8> {
    write_answer_head(&AnswerHead {
        status: 200,
        fields: vec![(name.to_owned(), value.to_owned())],
        length: Some(0),
    })
}
