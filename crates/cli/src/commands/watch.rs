//! `shardlift status --watch`: what `run` shows, from the running job, until it ends. Nothing that happens here touches
//! the job.

use std::os::fd::AsFd;
use std::time::Duration;

use migration::steer::SteerEvent;
use migration::{Exit, Level, UserError};
use process::{Interest, poll};
use supervisor::Snapshot;
use supervisor::control::{Answer, ControlClient, ControlError, Request};

use crate::display::{Display, Viewer};
use crate::interrupt::Interrupt;
use crate::log;
use crate::running::{self, StatePlace};
use crate::ui::Ui;

/// Between two looks whether the run can be watched now, or is over.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// The run is over.
    Over,
    /// The user does not want to watch any more; the run goes on.
    Left(Exit),
}

/// Shows the run of `holder` until it ends. While the run prepares, or compares at its end, there is nothing to show:
/// that is waited for.
pub fn watch(place: &StatePlace, holder: &str, ui: &Ui) -> Result<Watched, UserError> {
    let interrupt = Interrupt::new()?;
    let mut show = Show::new(place, ui);
    while running::holder(place)?.as_deref() == Some(holder) {
        let left = match ControlClient::connect(&place.path).and_then(|client| follow(client, &interrupt, &mut show)) {
            Ok(left) => left,
            // It ended, does not send yet or no more, or we were too slow to look: the lock tells.
            Err(ControlError::NoSocket | ControlError::Closed) => {
                poll(&[((), interrupt.as_fd(), Interest::Read)], Some(LOOK_EVERY))
                    .map_err(|error| running::no_answer(place, error.into()))?;
                interrupt.came()
            }
            Err(error) => return Err(running::no_answer(place, error)),
        };
        if let Some(exit) = left {
            return Ok(Watched::Left(exit));
        }
        if let Some(reason) = &show.refused {
            return Err(UserError::new(Exit::Preflight, format!("job {}: {reason}", place.name)));
        }
    }
    Ok(Watched::Over)
}

/// Shows what the supervisor tells until the user has seen enough (`Some`), or until it refuses.
fn follow(mut client: ControlClient, interrupt: &Interrupt, show: &mut Show) -> Result<Option<Exit>, ControlError> {
    client.send(&Request::Watch)?;
    loop {
        while let Some(answer) = client.received()? {
            match answer {
                Answer::State(snapshot) => show.snapshot(&snapshot),
                Answer::Refused(reason) => {
                    show.refused = Some(reason);
                    return Ok(None);
                }
                Answer::Standing(_) => {}
            }
        }
        poll(&[((), client.as_fd(), Interest::Read), ((), interrupt.as_fd(), Interest::Read)], None)?;
        if let Some(exit) = interrupt.came() {
            return Ok(Some(exit));
        }
    }
}

/// The display, and the turns that it has told of.
struct Show {
    display: Display,
    viewer: Viewer,
    /// `None` before the first snapshot: what happened before is in its line.
    told: Option<Vec<SteerEvent>>,
    quiet: bool,
    color: bool,
    refused: Option<String>,
}

impl Show {
    fn new(place: &StatePlace, ui: &Ui) -> Self {
        let (display, viewer) = (Display::new(ui), Viewer::new(&place.name));
        Show { display, viewer, told: None, quiet: ui.quiet, color: ui.color, refused: None }
    }

    fn snapshot(&mut self, snapshot: &Snapshot) {
        let told = self.told.replace(snapshot.steering.clone()).unwrap_or_else(|| snapshot.steering.clone());
        // The same turn is told again when the pace after it is known.
        let is_new = |turn: &&SteerEvent| !told.iter().any(|t| (t.unix_ms, &t.text) == (turn.unix_ms, &turn.text));
        for turn in snapshot.steering.iter().filter(is_new).filter(|_| !self.quiet) {
            log::print(Level::Info, &turn.text, self.color);
        }
        self.display.show(&self.viewer.view(snapshot));
    }
}
