//! The implementation model: which application entities there are, what they do, and in which order.

use super::markdown::Document;

const DATA_FLOW: &str = "
  PACS, modality            |  network  |  fcdd
                            |           |
  sends a study    --C-STORE, C-ECHO-->  AE RECEIVE --> spool
                            |           |                 |
                            |           |            assemble, analyze, report
                            |           |                 |
  keeps the results <-----C-STORE------  AE DELIVER <-- spool (results)
                            |           |
  answers          <------C-ECHO-------  AE DELIVER <-- operator (fcdd echo)
";

pub(super) fn add(document: &mut Document) {
    document.heading("4", "Networking");
    document.heading("4.1", "Implementation model");
    document.heading("4.1.1", "Application data flow");
    document.drawing(DATA_FLOW);
    document.heading("4.1.2", "Functional definition of AEs");
    document.paragraph(
        "**RECEIVE** waits for associations, answers C-ECHO, and stores what comes by C-STORE. An object that was \
         answered with 0000H is on stable storage: it was synced, renamed into the spool and the directory synced \
         before the answer. It is stored as it came: its data set is not changed, and no codec is needed.",
    );
    document.paragraph(
        "**DELIVER** sends the results of a study to every destination that wants them. Each destination has a queue \
         of its own; what a destination has stored is not sent to it again, and what was rendered once is sent with \
         the same bytes under the same UID.",
    );
    document.paragraph(
        "Both use the AE title `receive.ae_title`; a destination may be called under another one \
         (`calling_ae_title`).",
    );
    document.heading("4.1.3", "Sequencing of real-world activities");
    document.list([
        "A study is sent to RECEIVE, over any number of associations.",
        "It is complete when no association that sent objects of it is open and nothing came for `assemble.quiet_s`, \
         or `assemble.max_wait_s` after its first object.",
        "It is analyzed, and its results are written to the spool: heatmap series, card, structured report.",
        "DELIVER sends them in this order: heatmap over T1, heatmap over FLAIR, card, structured report.",
    ]);
    document.paragraph(
        "Results of fcdd that a PACS sends back to RECEIVE are stored like any object and cause no analysis: they are \
         recognised by Manufacturer and Manufacturer's Model Name.",
    );
}
