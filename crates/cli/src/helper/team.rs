//! Helper processes that do one work together: each tells how far it is, may hand over bytes in pieces, and gives an
//! answer.
//!
//! Responsible for: their pipes, that what they hand over is heard one helper after the other, that one which dies is
//! noticed whether it waits for others or not, and that none is left then. Not responsible for: what they do.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use migration::{Exit, Level, UserError};
use pipeline::verify::VerifyProgress;
use process::{ChildEnds, Filled, FrameReader, FrameWriter, Interest, RunningHelper, begin_helper};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{failed, no_answer};
use crate::interrupt::Interrupt;
use crate::log;

/// How often a helper tells how far it is.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// How long a helper that closed its pipe may take to end.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Kinds of frames.
const TELLING: u8 = 1;
/// From here on pieces and the answer come: they wait for the helpers before.
const HANDS_OVER: u8 = 2;
const PIECE: u8 = 3;
const ANSWER: u8 = 4;
/// In place of an answer, and without waiting.
const FAILED: u8 = 5;

/// What a helper says now and then.
#[derive(Serialize, Deserialize)]
struct Telling {
    at: Option<VerifyProgress>,
    lines: Vec<(Level, String)>,
}

/// What is heard of a helper.
pub enum Heard<'a> {
    /// How far it is.
    At(VerifyProgress),
    /// What it handed over, in the order of the helpers.
    Piece(&'a [u8]),
}

/// What a helper speaks with.
pub struct Voice {
    events: OwnedFd,
    frames: FrameWriter,
    told: Option<Instant>,
    last: VerifyProgress,
}

impl Voice {
    /// Tells how far it is, if it is time to.
    pub fn at(&mut self, at: VerifyProgress) {
        let same = (at.slice, at.topic) == (self.last.slice, self.last.topic);
        let last = std::mem::replace(&mut self.last, at);
        if !same {
            // How far it came with what it did before.
            self.tell(Some(last));
        } else if self.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        self.tell(Some(at));
    }

    /// From here on it hands over pieces.
    pub fn hands_over(&mut self) -> Result<(), UserError> {
        self.tell(Some(self.last));
        self.say(HANDS_OVER, &[])
    }

    /// Hands over a piece.
    pub fn piece(&mut self, piece: &[u8]) -> Result<(), UserError> {
        self.say(PIECE, piece)
    }

    fn tell(&mut self, at: Option<VerifyProgress>) {
        self.told = Some(Instant::now());
        let telling = postcard::to_stdvec(&Telling { at, lines: log::take_lines() });
        // A parent that is gone takes this process along.
        let _ = telling.map(|telling| self.say(TELLING, &telling));
    }

    fn say(&mut self, kind: u8, payload: &[u8]) -> Result<(), UserError> {
        let unsaid =
            |error: &dyn std::fmt::Display| UserError::new(Exit::Internal, format!("an answer was not heard: {error}"));
        self.frames.queue(kind, payload).map_err(|error| unsaid(&error))?;
        self.frames.flush(&self.events).map(|_| ()).map_err(|error| unsaid(&error))
    }
}

struct Member {
    /// `None`: it has ended.
    helper: Option<RunningHelper>,
    frames: FrameReader,
    hands_over: bool,
    answer: Option<Vec<u8>>,
    /// It has ended, and all that it said was heard.
    heard: bool,
}

struct Team<'a> {
    name: &'a str,
    members: Vec<Member>,
}

impl Drop for Team<'_> {
    fn drop(&mut self) {
        for helper in self.members.iter_mut().filter_map(|member| member.helper.take()) {
            // One that can't be killed dies with this process.
            let _ = helper.stop(Duration::ZERO);
        }
    }
}

/// Runs `work` in this number of helper processes at the same time, with the number of each, and gives their answers
/// in this order. `hear` is told what they say. The first that fails ends all.
pub fn together<T: Serialize + DeserializeOwned>(
    name: &str,
    helpers: usize,
    interrupt: Option<&Interrupt>,
    work: &dyn Fn(usize, &mut Voice) -> Result<T, UserError>,
    hear: &mut dyn FnMut(usize, Heard<'_>) -> Result<(), UserError>,
) -> Result<Vec<T>, UserError> {
    let mut team = Team { name, members: Vec::new() };
    for number in 0..helpers {
        let helper = begin_helper(name, |ends| speak(ends, |voice| work(number, voice))).map_err(failed)?;
        let (helper, frames) = (Some(helper), FrameReader::new());
        team.members.push(Member { helper, frames, hands_over: false, answer: None, heard: false });
    }
    while team.listen(interrupt, hear)? {}
    let answers = team.members.iter_mut().map(|member| member.answer.take());
    let answer = |answer: Option<Vec<u8>>| {
        let unreadable = || UserError::new(Exit::Internal, format!("a helper process {name} gave no readable answer"));
        postcard::from_bytes::<T>(&answer.ok_or_else(unreadable)?).map_err(|_| unreadable())
    };
    answers.map(answer).collect()
}

/// A line of a helper's log, in this process's.
fn log_again(level: Level, line: &str) {
    match level {
        Level::Error => tracing::error!("{line}"),
        Level::Warning => tracing::warn!("{line}"),
        Level::Info => tracing::info!("{line}"),
        Level::Debug => tracing::debug!("{line}"),
        Level::Trace => tracing::trace!("{line}"),
    }
}

/// The helper's part.
fn speak<T: Serialize>(ends: ChildEnds, work: impl FnOnce(&mut Voice) -> Result<T, UserError>) -> u8 {
    log::keep_lines();
    let last = VerifyProgress::default();
    let mut voice = Voice { events: ends.events, frames: FrameWriter::new(), told: None, last };
    let answer = work(&mut voice);
    voice.tell(Some(voice.last));
    let said = match answer.map(|answer| postcard::to_stdvec(&answer)) {
        Ok(Ok(answer)) => voice.say(HANDS_OVER, &[]).and_then(|()| voice.say(ANSWER, &answer)),
        Ok(Err(error)) => Err(UserError::new(Exit::Internal, error)),
        Err(error) => Err(error),
    };
    let Err(error) = said else { return 0 };
    // It does not wait for the others.
    let _ = postcard::to_stdvec(&error).map(|error| voice.say(FAILED, &error));
    0
}

impl Team<'_> {
    /// Hears what there is. False: all have ended.
    fn listen(
        &mut self,
        interrupt: Option<&Interrupt>,
        hear: &mut dyn FnMut(usize, Heard<'_>) -> Result<(), UserError>,
    ) -> Result<bool, UserError> {
        let mut entries = interrupt.map(|interrupt| (None, interrupt.as_fd(), Interest::Read)).into_iter().collect::<Vec<_>>();
        for (number, member) in self.members.iter().enumerate() {
            let Some(helper) = &member.helper else { continue };
            // One that waits for those before may die all the same.
            let waits = member.hands_over && !self.is_first(number);
            entries.push((Some(number), helper.events(), if waits { Interest::End } else { Interest::Read }));
        }
        if self.members.iter().all(|member| member.helper.is_none()) {
            return Ok(false);
        }
        let internal = |error: &dyn std::fmt::Display| {
            UserError::new(Exit::Internal, format!("the helper processes {}: {error}", self.name))
        };
        let ready = process::poll(&entries, None).map_err(|error| internal(&error))?;
        let ready: Vec<Option<usize>> = ready.iter().map(|ready| ready.token).collect();
        drop(entries);
        if ready.contains(&None) {
            return Err(UserError::new(Exit::Stopped, "stopped by a signal").hint("run again to go on"));
        }
        for number in ready.into_iter().flatten() {
            let first = self.is_first(number);
            let member = &mut self.members[number];
            let Some(helper) = &member.helper else { continue };
            let unheard = |error: std::io::Error| UserError::new(Exit::Internal, error);
            let mut filled = member.frames.fill(helper.events()).map_err(unheard)?;
            // It is gone: what a pipe holds of it is kept until it is its turn.
            while member.hands_over && !first && matches!(filled, Filled::Bytes(_)) {
                filled = member.frames.fill(helper.events()).map_err(unheard)?;
            }
            member.hear(number, first, hear)?;
            if filled == Filled::Eof {
                self.end(number)?;
            }
        }
        // What waited for the helpers before may be there already.
        for number in 0..self.members.len() {
            let first = self.is_first(number);
            let member = &mut self.members[number];
            member.hear(number, first, hear)?;
            member.heard = first && member.helper.is_none();
        }
        Ok(true)
    }

    /// Whether all that the helpers before this one said was heard.
    fn is_first(&self, number: usize) -> bool {
        self.members[..number].iter().all(|member| member.heard)
    }

    /// A helper closed its pipe.
    fn end(&mut self, number: usize) -> Result<(), UserError> {
        let member = &mut self.members[number];
        let Some(helper) = member.helper.take() else { return Ok(()) };
        let reaped = helper.stop(END_PATIENCE).map_err(failed)?;
        match reaped.map(|reaped| reaped.state) {
            Some(state) if !state.is_success() => Err(no_answer(self.name, state)),
            _ => Ok(()),
        }
    }
}

impl Member {
    /// Takes whole frames; `first`: all of those before it were heard.
    fn hear(
        &mut self,
        number: usize,
        first: bool,
        hear: &mut dyn FnMut(usize, Heard<'_>) -> Result<(), UserError>,
    ) -> Result<(), UserError> {
        while first || !self.hands_over {
            let torn = |error: &dyn std::fmt::Display| {
                UserError::new(Exit::Internal, format!("a helper process can't be heard: {error}"))
            };
            let Some((kind, payload)) = self.frames.next_frame().map_err(|error| torn(&error))? else { break };
            match kind {
                TELLING => {
                    let Telling { at, lines } = postcard::from_bytes(payload).map_err(|error| torn(&error))?;
                    lines.iter().for_each(|(level, line)| log_again(*level, line));
                    if let Some(at) = at {
                        hear(number, Heard::At(at))?;
                    }
                }
                HANDS_OVER => self.hands_over = true,
                PIECE => hear(number, Heard::Piece(payload))?,
                ANSWER => self.answer = Some(payload.to_vec()),
                FAILED => return Err(postcard::from_bytes(payload).map_err(|error| torn(&error))?),
                kind => return Err(torn(&format!("it sent a frame of the kind {kind}"))),
            }
        }
        Ok(())
    }
}
