//! Archives written down as text, wrong ones included.

/// Makes an uncompressed tar with one entry for each line: `d path`, `f path = text`, `l path -> target`,
/// `h path == target`, `c path 0 0`, `b path 8 0`, `p path`, `x key=value` (an extended header for the next entry), with
/// `path 755` or `path 755 5:6` for mode and owner.
pub(crate) fn tar(spec: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    for line in spec.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(record) = line.strip_prefix("x ") {
            pax(&mut archive, b'x', record);
        } else if let Some(record) = line.strip_prefix("g ") {
            pax(&mut archive, b'g', record);
        } else {
            entry(&mut archive, line);
        }
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn entry(archive: &mut Vec<u8>, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let (kind, path, rest) = (words[0], words[1], &words[2..]);
    let mut raw = Raw::new(path, kind.as_bytes()[0]);
    let split = rest.iter().position(|word| ["=", "->", "=="].contains(word)).unwrap_or(rest.len());
    let value = rest.get(split + 1..).unwrap_or_default().join(" ");
    let numbers = &rest[..split];
    raw.type_flag = match kind {
        "f" => b'0',
        "h" => b'1',
        "l" => b'2',
        "c" => b'3',
        "b" => b'4',
        "d" => b'5',
        "p" => b'6',
        other => other.as_bytes()[0],
    };
    match kind {
        "l" | "h" => raw.link = value.into_bytes(),
        "c" | "b" => raw.device = (numbers[0].parse().unwrap(), numbers[1].parse().unwrap()),
        _ => raw.content = value.into_bytes(),
    }
    raw.mode = if kind == "d" { 0o755 } else { 0o644 };
    if !["c", "b"].contains(&kind) {
        if let Some(mode) = numbers.first() {
            raw.mode = u32::from_str_radix(mode, 8).unwrap();
        }
        if let Some((uid, gid)) = numbers.get(1).and_then(|ids| ids.split_once(':')) {
            (raw.uid, raw.gid) = (uid.parse().unwrap(), gid.parse().unwrap());
        }
    }
    raw.append(archive);
}

/// Appends an extended header with one record.
pub(crate) fn pax(archive: &mut Vec<u8>, type_flag: u8, record: &str) {
    let mut raw = Raw::new("pax", type_flag);
    raw.content = pax_record(record.as_bytes());
    raw.append(archive);
}

/// Returns `key=value` as a record with its length.
fn pax_record(record: &[u8]) -> Vec<u8> {
    let length = (record.len() + 3..record.len() + 30)
        .find(|length| length.to_string().len() + record.len() + 2 == *length)
        .unwrap();
    [format!("{length} ").as_bytes(), record, b"\n"].concat()
}

/// An entry with fields that need not fit together.
pub(crate) struct Raw {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) type_flag: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) device: (u32, u32),
    pub(crate) mtime: u64,
    /// What the header says; the length of the content if nothing is said.
    pub(crate) size: Option<u64>,
    pub(crate) content: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(path: &str, type_flag: u8) -> Self {
        Self {
            path: path.as_bytes().to_vec(),
            link: Vec::new(),
            type_flag,
            mode: 0o644,
            uid: 0,
            gid: 0,
            device: (0, 0),
            mtime: 1_000_000_000,
            size: None,
            content: Vec::new(),
        }
    }

    pub(crate) fn header(&self) -> [u8; 512] {
        let mut header = tar::Header::new_ustar();
        let name = self.path.len().min(100);
        header.as_old_mut().name[..name].copy_from_slice(&self.path[..name]);
        let link = self.link.len().min(100);
        header.as_old_mut().linkname[..link].copy_from_slice(&self.link[..link]);
        header.set_entry_type(tar::EntryType::new(self.type_flag));
        header.set_mode(self.mode);
        header.set_uid(self.uid);
        header.set_gid(self.gid);
        header.set_mtime(self.mtime);
        header.set_size(self.size.unwrap_or(self.content.len() as u64));
        header.set_device_major(self.device.0).unwrap();
        header.set_device_minor(self.device.1).unwrap();
        header.set_cksum();
        *header.as_bytes()
    }

    pub(crate) fn append(&self, archive: &mut Vec<u8>) {
        archive.extend_from_slice(&self.header());
        archive.extend_from_slice(&self.content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
}
