//! Media interchange, character sets and security: what there is to say of them.

use super::markdown::Document;

pub(super) fn add(document: &mut Document) {
    document.heading("5", "Media interchange");
    document.paragraph("Not supported.");
    document.heading("6", "Support of character sets");
    document.paragraph(
        "Any character set is received: data sets are kept byte for byte. In results, the attributes of patient and \
         study are the source's own bytes under the source's own Specific Character Set, with or without code \
         extensions; what fcdd writes itself is printable ASCII (ISO-IR 6), which stands in every one of them. Nothing \
         is converted on sending. The words on the card are part of a picture and may be of another script.",
    );
    document.heading("7", "Security");
    document.heading("7.1", "Security profiles");
    document.paragraph(
        "None. Associations are not encrypted (no TLS) and users are not identified: run fcdd in a network that is \
         trusted, or behind a TLS proxy. A TLS handshake on the DICOM port is recognised, aborted and logged as such.",
    );
    document.heading("7.2", "Association level security");
    document.paragraph(
        "By address (`receive.allowed_addresses`), calling AE title (`receive.allowed_calling_ae_titles`) and called \
         AE title, as in section 4.2.1.4.1.3; by the number of associations, in total and per address. Every \
         association leaves a receipt in the ledger: who, what was offered, stored and refused, and how it ended.",
    );
    document.heading("7.3", "Application level security");
    document.paragraph(
        "Files of the spool are readable for the daemon's user only. UIDs are checked before they become file names. \
         Compressed pixels are decoded in a child process with limits on time and memory. Logs name studies by UID and \
         hold no patient data at the levels INFO and above. De-identification is not offered: results carry the \
         source's patient and study attributes.",
    );
}
