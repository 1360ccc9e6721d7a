//! Mail of the research side: what it says (`letter`), and how it leaves (`smtp`).
//!
//! **What a mail may hold.** Mail is read on phones and kept on servers that nobody here knows. It therefore says what
//! a person needs in order to decide whether to look: the figures of the whole cohort, the verdict on confounds, and
//! what to type next. It says nothing of single subjects: a line of a report that names one, even by its pseudonym, is
//! left out, since a label and a probability beside a pseudonym are data of one patient. Only where the configuration
//! says `attach_report = true` does the whole report go along, with its table of subjects and its pictures.

mod letter;
mod smtp;

pub use letter::{Letter, LetterError, Promotable, failed, of_run};
pub use smtp::{MailError, Unsent, send};
