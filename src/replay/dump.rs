//! A file's events as its server would send them, and how much of a file that is.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;

use crate::binlog::{
    DecodeError, Decoder, Event, EventType, FilePosition, GtidSet, Inflater, Input, Payload,
    Problem, UndoneParts, Unpacked,
};
use crate::error::Error;
use crate::{Exit, Failure};

use super::file::BinlogFile;
use super::progress::ProgressLog;

/// A file to replay, and which part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileRange {
    pub(super) path: PathBuf,
    /// The binlog's name.
    pub(super) name: String,
    /// Where the first event that counts starts, if it is not the file's first.
    pub(super) start: Option<u64>,
    /// Where it is enough, if not at the end.
    pub(super) until: Option<u64>,
}

/// What is sent next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Rotate,
    Description,
    First,
    Others,
    /// The events of the compressed transaction at hand.
    Packed,
}

/// A file's events behind a ROTATE that names it, like a dump thread's.
pub(super) struct Dump<'p> {
    range: &'p FileRange,
    file: BinlogFile,
    rotate: Vec<u8>,
    next: Next,
    /// The compressed transaction at hand, and how much of its event's body is unpacked.
    payload: Option<(Payload, usize)>,
}

impl<'p> Dump<'p> {
    pub(super) fn open(range: &'p FileRange, bytes_read: &Rc<Cell<u64>>) -> Result<Self, Error> {
        let start = range.start.unwrap_or(FilePosition::FIRST_OFFSET);
        Ok(Self {
            range,
            file: BinlogFile::open(&range.path, Rc::clone(bytes_read))?,
            rotate: [&start.to_le_bytes()[..], range.name.as_bytes()].concat(),
            next: Next::Rotate,
            payload: None,
        })
    }

    /// Where the next event starts.
    pub(super) fn position(&self) -> &FilePosition {
        self.file.position()
    }

    /// Whether what there is to read before [`Dump::position`] was read.
    pub(super) fn is_there(&self) -> bool {
        self.next != Next::Packed
    }

    /// What comes next, or `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Input<'_>>, Error> {
        match self.next {
            Next::Rotate => {
                self.next = Next::Description;
                return Ok(Some(Input::Event(Event::artificial_rotate(&self.rotate))));
            }
            Next::Description => {
                self.next = Next::First;
                let mut event = self.file.next()?;
                if let (Some(event), Some(_)) = (&mut event, self.range.start) {
                    // It is not where the reader starts.
                    event.header.log_pos = 0;
                }
                return Ok(event.map(Input::Event));
            }
            Next::Packed => return self.next_packed().map(Some),
            Next::First => {
                if let Some(start) = self.range.start {
                    self.pass_over_to(start)?;
                }
                self.next = Next::Others;
            }
            Next::Others => {}
        }
        self.payload = None;
        let event = self.file.next()?;
        if event.is_some_and(|event| event.header.type_code == EventType::TransactionPayload.code())
        {
            self.next = Next::Packed;
        }
        Ok(event.map(Input::Event))
    }

    fn next_packed(&mut self) -> Result<Input<'_>, Error> {
        let body = self.file.body();
        let at = FilePosition::new(self.range.name.clone(), self.file.start());
        let failed = |problem| {
            let error = DecodeError {
                position: at.clone(),
                table: None,
                problem,
            };
            super::explained(&self.range.path, &error)
        };
        if self.payload.is_none() {
            let opened = Payload::open(body, body.len() as u64);
            self.payload = Some(opened.map_err(&failed)?);
        }
        let Some((payload, taken)) = &mut self.payload else {
            return Err(failed(Problem::Truncated));
        };
        let mut packed = &body[*taken..];
        match payload.next(&mut packed) {
            Ok(Unpacked::Event(event)) => {
                *taken = body.len() - packed.len();
                Ok(Input::Packed(event))
            }
            Ok(Unpacked::Starved) => Err(failed(Problem::Truncated)),
            Ok(Unpacked::End) => {
                self.next = Next::Others;
                Ok(Input::PayloadEnd)
            }
            Err(problem) => Err(failed(problem)),
        }
    }

    fn pass_over_to(&mut self, start: u64) -> Result<(), Error> {
        while self.position().offset < start && self.file.next()?.is_some() {}
        let position = self.position();
        if position.offset == start {
            return Ok(());
        }
        if position.offset < start {
            let start = FilePosition::new(self.range.name.clone(), start);
            return Err(past_the_end("--start", &start, self.range, position.offset));
        }
        let what = format!("no event starts at --start {}:{start}", self.range.name);
        let remedy = format!(
            "start at a transaction's first event, as `mysqlbinlog` or SHOW BINLOG EVENTS lists \
             them; the nearest event after it is at {position}"
        );
        Err(Failure::definite(Exit::Usage, what, remedy).into())
    }
}

/// An option names a place that the file does not have.
fn past_the_end(option: &str, named: &FilePosition, range: &FileRange, end: u64) -> Error {
    let what = format!(
        "{}: {option} {named} is past the end of the file, which is at {end}",
        range.path.display()
    );
    let remedy = "choose a position that the file has; or, if its server has written more since, copy the \
                  file again (after FLUSH BINARY LOGS), and repeat the replay";
    Failure::definite(Exit::Data, what, remedy).into()
}

/// How much of a file is whole transactions.
pub(super) struct Survey {
    /// Behind the last event of the last of them.
    pub(super) end: u64,
    /// Why there is no more, if it is not the file's end.
    pub(super) trouble: Option<Error>,
    /// The next file, if this one names it.
    pub(super) next: Option<String>,
    /// The server has written to this file for the last time.
    pub(super) is_closed: bool,
    /// Where XA transactions start that are too large to keep, and need not be, because they have one phase.
    pub(super) one_phase: BTreeSet<FilePosition>,
    /// Where rows are that their transaction takes back.
    pub(super) undone: UndoneParts,
}

/// Reads a file without writing rows. A transaction's rows are there before its commit, so that only
/// a look ahead can tell whether they count. `before` has read the files before; the decoder of this one is
/// given back, and shown to `look` after each event.
pub(super) fn survey(
    range: &FileRange,
    before: &Decoder,
    progress: &mut ProgressLog,
    look: impl FnMut(&mut Decoder),
) -> (Survey, Decoder) {
    let mut survey = Survey {
        end: range.start.unwrap_or(FilePosition::FIRST_OFFSET),
        trouble: None,
        next: None,
        is_closed: false,
        one_phase: BTreeSet::new(),
        undone: UndoneParts::default(),
    };
    let mut decoder = Decoder::surveying(before);
    let read = survey.read(&mut decoder, range, before, progress, look);
    survey.trouble = read.err();
    survey.undone = decoder.surveyed();
    (survey, decoder)
}

impl Survey {
    fn read(
        &mut self,
        decoder: &mut Decoder,
        range: &FileRange,
        before: &Decoder,
        progress: &mut ProgressLog,
        mut look: impl FnMut(&mut Decoder),
    ) -> Result<(), Error> {
        let mut dump = Dump::open(range, progress.bytes_read())?;
        let mut inflater = Inflater::default();
        while let Some(input) = dump.next()? {
            let header = match &input {
                Input::Event(event) => Some(event.header),
                Input::Packed(_) | Input::Fragment(_) | Input::PayloadEnd | Input::Prepared(_) => {
                    None
                }
            };
            let explained = |error| super::explained(&range.path, &error);
            let plain = inflater.plain(input, decoder).map_err(explained)?;
            decoder.take(&plain).map_err(explained)?;
            // They are told when the rows are written.
            drop(decoder.take_notes());
            look(decoder);
            if decoder.must_read_again() {
                let start = decoder.do_without().map_err(explained)?;
                self.one_phase.extend(start);
            }
            while let Some(kept) = decoder.next_prepared() {
                let prepared = Input::Prepared(kept.event());
                decoder.take(&prepared).map_err(explained)?;
                look(decoder);
            }
            match header.map(|header| (EventType::from_code(header.type_code), header)) {
                Some((EventType::Rotate, header)) if !header.is_artificial() => {
                    self.is_closed = true;
                    self.next = Some(decoder.position().file.clone());
                }
                Some((EventType::Stop, _)) => self.is_closed = true,
                Some((EventType::PreviousGtids | EventType::MariaGtidList, _)) => {
                    check_nothing_is_missing(range, before.gtids(), decoder.gtids())?;
                }
                _ => {}
            }
            if decoder.transaction().is_none() && !decoder.is_in_payload() {
                self.end = dump.position().offset;
                if range.until.is_some_and(|until| self.end >= until) {
                    return Ok(());
                }
            }
            progress.tick(dump.position());
        }
        match (decoder.transaction(), range.until) {
            (None, None) => Ok(()),
            (None, Some(until)) => {
                let until = FilePosition::new(range.name.clone(), until);
                Err(past_the_end("--until", &until, range, self.end))
            }
            (Some(transaction), _) => {
                let position = FilePosition::new(range.name.clone(), transaction.start);
                let error = DecodeError {
                    position,
                    table: None,
                    problem: Problem::Unfinished,
                };
                Err(super::explained(&range.path, &error))
            }
        }
    }
}

/// Each file begins with the transactions of all files before it. Any that was not read means that
/// a file is missing, or the end of one.
fn check_nothing_is_missing(
    range: &FileRange,
    before: Option<&GtidSet>,
    begins_after: Option<&GtidSet>,
) -> Result<(), Error> {
    let (Some(before), Some(begins_after)) = (before, begins_after) else {
        return Ok(());
    };
    if before.contains(begins_after) {
        return Ok(());
    }
    let what = format!(
        "{}: the file begins after transactions that are in none of the files before it, whose \
         last are {before}",
        range.path.display()
    );
    let remedy = "give all files of one server, complete and in order; or replay from this file on separately, \
        and load the rows in between from the table";
    Err(Failure::definite(Exit::Data, what, remedy).into())
}
