//! `cpu_affinity` in `[workers]`.

use super::CpuAffinity;
use super::error::Reported;
use super::host::Host;
use super::walk::Field;

/// `true`, `false`, or a list of numbers.
pub(super) fn cpu_affinity(field: &Field<'_>, host: &Host) -> Result<CpuAffinity, Reported> {
    let hint = "write true, or the numbers of the CPUs to use: [0, 2]";
    if !field.is_array() {
        return Ok(match field.flag()? {
            true => CpuAffinity::Each,
            false => CpuAffinity::Off,
        });
    }
    let number = |cpu: Field<'_>| {
        let number = cpu.number(0..=u64::from(u16::MAX))?;
        if host.allowed_cpus.contains(&number) {
            return Ok(number);
        }
        let allowed = format!("write some of {:?}", host.allowed_cpus);
        Err(cpu.refuse(format!("CPU {number} is not there to be used"), allowed))
    };
    let cpus: Vec<_> = field.array(hint)?.map(number).collect();
    let cpus = cpus.into_iter().collect::<Result<Vec<u16>, _>>()?;
    if cpus.is_empty() {
        return Err(field.refuse("`cpu_affinity` names no CPU", hint));
    }
    Ok(CpuAffinity::Only(cpus))
}
