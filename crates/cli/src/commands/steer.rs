//! `shardlift scale`, `pause`, `continue`, `throttle`: turn a knob of the job that runs, and say how it stands then.

use migration::steer::{Standing, Steer};
use migration::{Exit, UserError};
use serde_json::{Map, Value};
use supervisor::control::{Answer, ControlClient, ControlError, Request};

use crate::args::{BegunJobArgs, ScaleArgs, ThrottleArgs};
use crate::running::{self, StatePlace};
use crate::ui::Ui;

/// Another number of workers.
pub fn scale(args: &ScaleArgs, ui: &Ui) -> Result<Exit, UserError> {
    steer(&args.job, Steer::Scale(args.wish), ui)
}

/// Commit, then send nothing.
pub fn pause(args: &BegunJobArgs, ui: &Ui) -> Result<Exit, UserError> {
    steer(args, Steer::Pause, ui)
}

/// Go on.
pub fn continue_(args: &BegunJobArgs, ui: &Ui) -> Result<Exit, UserError> {
    steer(args, Steer::Continue, ui)
}

/// Another limit. `none` alone takes both limits away, because that is what it says.
pub fn throttle(args: &ThrottleArgs, ui: &Ui) -> Result<Exit, UserError> {
    let everything = args.records.is_some_and(f64::is_infinite).then_some(f64::INFINITY);
    steer(&args.job, Steer::Throttle { records: args.records, bytes: args.bytes.or(everything) }, ui)
}

fn steer(args: &BegunJobArgs, wish: Steer, ui: &Ui) -> Result<Exit, UserError> {
    let place = StatePlace::find_begun(args)?;
    running::holder(&place)?.ok_or_else(|| running::not_running(&place))?;
    match ControlClient::connect(&place.path).and_then(|client| client.ask(&Request::Steer(wish))) {
        Ok(Answer::Standing(standing)) => {
            ui.result(|| standing.to_string(), || object(&place, &standing));
            Ok(Exit::Done)
        }
        Ok(Answer::Refused(reason)) => Err(UserError::new(Exit::Preflight, format!("job {}: {reason}", place.name))),
        Ok(Answer::State(_)) => Err(UserError::new(Exit::Internal, "the job answered something else than was asked")),
        // Between the question for the lock and this one the run may have ended.
        Err(ControlError::NoSocket | ControlError::Closed) if running::holder(&place)?.is_none() => {
            Err(running::not_running(&place))
        }
        Err(error) => Err(running::no_answer(&place, error)),
    }
}

fn object(place: &StatePlace, standing: &Standing) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("job".into(), place.name.clone().into());
    map.append(&mut report::standing::object(standing));
    map
}
