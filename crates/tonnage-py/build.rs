//! Hands the `Py_3_x` configuration flags to the fence (`src/cpython`).

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
