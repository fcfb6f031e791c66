//! Writes `mib` MiB under `/scratch`, 64 KiB at a time, in one of several ways; returns how many
//! bytes were written and the error that ended it, if one did.

use std::fs::{self, File};
use std::io::{self, Seek, Write};

use dacapo::prelude::*;

const BLOCK: [u8; 64 * 1024] = [0x5a; 64 * 1024];
const PATH: &str = "/scratch/disk";

#[derive(Deserialize)]
struct Disk {
    mib: u64,
    #[serde(default)]
    mode: Mode,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// One file that grows.
    #[default]
    OneFile,
    /// A file for each block.
    ManyFiles,
    /// A file for each KiB: many names, little content.
    SmallFiles,
    /// `set_len`, without a write.
    SetLen,
    /// The first block of one file, again and again.
    Overwrite,
    /// Every 16 blocks the file is deleted and begun anew.
    DeleteAndRewrite,
}

fn disk(_: &Context, disk: Disk) -> Result<Value> {
    let mut written = 0;
    let error = write(&disk, &mut written).err().map(|error| error.to_string());
    Ok(json!({ "written": written, "error": error }))
}

fn write(disk: &Disk, written: &mut u64) -> io::Result<()> {
    let mut file = File::create(PATH)?;
    let size = if matches!(disk.mode, Mode::SmallFiles) { 1024 } else { BLOCK.len() };
    let block = &BLOCK[..size];
    for number in 0..disk.mib * 1024 * 1024 / size as u64 {
        match disk.mode {
            Mode::OneFile => file.write_all(block)?,
            Mode::ManyFiles | Mode::SmallFiles => fs::write(format!("{PATH}-{number}"), block)?,
            Mode::SetLen => file.set_len((number + 1) * size as u64)?,
            Mode::Overwrite => {
                file.rewind()?;
                file.write_all(block)?;
            }
            Mode::DeleteAndRewrite => {
                if number % 16 == 0 {
                    fs::remove_file(PATH)?;
                    file = File::create(PATH)?;
                }
                file.write_all(block)?;
            }
        }
        *written += size as u64;
    }
    Ok(())
}

dacapo::tasks![task("disk", disk)];
