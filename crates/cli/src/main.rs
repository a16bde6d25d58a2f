//! shardlift: moves a large dataset into Apache Kafka with many single-threaded worker processes.
//!
//! This crate is arguments, logging, wiring and exit status. The rules of migration live in the crates below it.

mod args;
mod catch_up;
mod checks;
mod commands;
mod display;
mod embedded;
mod fill;
mod helper;
mod interrupt;
mod letters;
mod letters_topic;
mod log;
mod missing_list;
mod output_file;
mod own_topic;
mod preflight;
mod retries;
mod running;
mod set_aside;
mod settings;
mod source;
mod state;
mod surplus_file;
mod ui;
mod verify;
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;
use migration::{Exit, UserError};

use crate::args::{Cli, Command, CompareScene};
use crate::ui::Ui;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ui::refuse(&error),
    };
    let ui = Ui::new(&cli.global, cli.command.name());
    log::start(cli.global.quiet, cli.global.verbose, ui.color);
    // This process holds the job's secrets too. Where that is refused nothing is worse than before.
    drop(process::forbid_core_files());
    // A panic has said what it is by now; batch engines act on documented exit codes only.
    let end = catch_unwind(AssertUnwindSafe(|| obey(&cli.command, &ui))).unwrap_or_else(|_| {
        Err(UserError::new(Exit::Internal, "this is a bug of shardlift; please report what is printed above")
            .hint("the state is consistent: `shardlift run` continues"))
    });
    let exit = end.unwrap_or_else(|error| {
        ui.fail(&error);
        error.exit
    });
    ExitCode::from(ui.exit(exit).code())
}

fn obey(command: &Command, ui: &Ui) -> Result<Exit, UserError> {
    match command {
        Command::Init(args) => commands::init::init(args, ui),
        Command::Check(args) => commands::check::check(args, ui),
        Command::Plan(args) => commands::plan::plan(args, ui),
        Command::Run(args) => commands::run::run(args, ui),
        Command::Status(args) => commands::status::status(args, ui),
        Command::Scale(args) => commands::steer::scale(args, ui),
        Command::Pause(args) => commands::steer::pause(args, ui),
        Command::Continue(args) => commands::steer::continue_(args, ui),
        Command::Throttle(args) => commands::steer::throttle(args, ui),
        Command::Report(args) => commands::report::report(args, ui),
        Command::Verify(args) => commands::verify::verify(args, ui),
        Command::Dlq(command) => commands::dlq::dlq(command, ui),
        Command::Compare(args) => match &args.scene {
            Some(CompareScene::Web(args)) => commands::compare_web::web(args, ui),
            None => commands::compare::compare(&args.variants, ui),
        },
        Command::CompareRound => commands::compare::round(),
        Command::Broker(args) => commands::broker::broker(args, ui),
    }
}
