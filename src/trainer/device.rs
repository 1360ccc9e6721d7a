//! Where the network computes, and finding libtorch's CUDA half.
//!
//! `fcdd-trainer` is linked to libtorch's CPU half only. CUDA's kernels are in `libtorch_cuda.so`, which registers
//! itself when it is loaded; so one binary serves both, and must load it before the first call into libtorch.

use tch::{Cuda, Device};

/// The device cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Not a device's name.
    #[error("{0:?} is no device; there are auto, cpu, cuda and cuda:N")]
    Unknown(String),
    /// libtorch has no CUDA half here.
    #[error(
        "CUDA needs libtorch_cuda.so, which cannot be loaded. Install all of PyTorch (pip install torch==2.13.0) \
         and put its torch/lib folder into LD_LIBRARY_PATH"
    )]
    NoCudaLibrary(#[source] libloading::Error),
    /// The library is there, the device is not.
    #[error("{name}: libtorch sees {found} CUDA devices (is the driver 580 or newer? what does nvidia-smi say?)")]
    NoCudaDevice {
        /// The device asked for.
        name: String,
        /// How many there are.
        found: i64,
    },
}

/// The device of that name: `cpu`, `cuda`, `cuda:N`, or `auto` for CUDA where it works. Call it before anything else
/// of libtorch's.
///
/// # Errors
/// When CUDA is asked for by name and cannot be had, or the name is none.
pub fn select(name: &str) -> Result<Device, DeviceError> {
    let index = match name {
        "cpu" => return Ok(Device::Cpu),
        "auto" => return Ok(cuda(name, 0).unwrap_or(Device::Cpu)),
        "cuda" => 0,
        _ => name
            .strip_prefix("cuda:")
            .and_then(|index| index.parse::<usize>().ok())
            .ok_or_else(|| DeviceError::Unknown(name.to_owned()))?,
    };
    cuda(name, index)
}

/// `cpu` or `cuda:N`.
pub fn name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".to_owned(),
    }
}

fn cuda(name: &str, index: usize) -> Result<Device, DeviceError> {
    load_cuda_library().map_err(DeviceError::NoCudaLibrary)?;
    let found = if Cuda::is_available() { Cuda::device_count() } else { 0 };
    if usize::try_from(found).is_ok_and(|count| index < count) {
        Ok(Device::Cuda(index))
    } else {
        Err(DeviceError::NoCudaDevice { name: name.to_owned(), found })
    }
}

/// Loads `libtorch_cuda.so` for the rest of the process, with its symbols visible to libtorch's other libraries.
#[allow(unsafe_code)]
fn load_cuda_library() -> Result<(), libloading::Error> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

    // SAFETY: loading runs the library's static initialisers. They are libtorch's own, of the version this binary is
    // linked to (the folder is the same), and they only register kernels; that is what every PyTorch process does. The
    // handle is never closed, so nothing they registered is unloaded while it is in use.
    let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL)? };
    std::mem::forget(library);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_or_refused() {
        assert_eq!(select("cpu").unwrap(), Device::Cpu);
        for wrong in ["gpu", "cuda:", "cuda:x", "cuda:-1", ""] {
            let error = select(wrong).unwrap_err();
            assert!(matches!(&error, DeviceError::Unknown(name) if name == wrong), "{error}");
        }
        assert_eq!(name(Device::Cpu), "cpu");
        assert_eq!(name(Device::Cuda(1)), "cuda:1");
    }
}
