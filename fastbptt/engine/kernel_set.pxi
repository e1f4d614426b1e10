# Names of activations, losses and update rules, what the engine takes from C, and the kernel set of this process.

cdef extern from "Python.h":
    cpython.PyObject *PyObject_CallMethodNoArgs(object owner, object name)  # NULL is not raised

cdef extern from "numpy/arrayobject.h":
    cpython.PyTypeObject PyArray_Type
    object PyArray_NewFromDescr(cpython.PyTypeObject *type, cnp.dtype stolen, int ndim, const cnp.npy_intp *shape,
                                const cnp.npy_intp *strides, void *data, int flags, void *like)

cnp.import_array()

cdef extern from *:
    """
    #include <time.h>
    #undef I /* <complex.h>, which NumPy's headers include, defines it */
    static double fastbptt_now(void) {
        struct timespec now;
        timespec_get(&now, TIME_UTC);
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    }

    #if defined(__clang__)
    #define FASTBPTT_COMPILER "Clang " __clang_version__
    #elif defined(__GNUC__)
    #define FASTBPTT_COMPILER "GCC " __VERSION__
    #else
    #define FASTBPTT_COMPILER "unknown"
    #endif
    """
    double now "fastbptt_now"() noexcept nogil
    const char *COMPILER "FASTBPTT_COMPILER"

cdef extern from "atomic.h":
    long add "fastbptt_add"(long *counter, long n) noexcept nogil  # the new value
    int read_flag "fastbptt_read_flag"(volatile int *flag) noexcept nogil
    void write_flag "fastbptt_write_flag"(volatile int *flag, int value) noexcept nogil

cdef extern from "denormals.h" nogil:
    unsigned long long rounding_mode "fastbptt_get_mode"() noexcept
    unsigned long long flush_denormals "fastbptt_flush"() noexcept  # the mode before, for `restore`
    unsigned long long keep_denormals "fastbptt_keep"() noexcept
    void restore "fastbptt_restore"(unsigned long long mode) noexcept

cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept  # leaves the exception set

# Name: constant, from the tables in kernels/defs
ACTIVATIONS = {activation_rows[i].name.decode(): i for i in range(ACTIVATION_COUNT) if activation_rows[i].layers & HIDDEN}
OUTPUT_ACTIVATIONS = {activation_rows[i].name.decode(): i for i in range(ACTIVATION_COUNT)
                      if activation_rows[i].layers & OUTPUT}
LOSSES = {loss_rows[i].name.decode(): i for i in range(LOSS_COUNT)}
CELLS_BY_NAME = {cell_rows[i].name.decode(): i for i in range(CELL_COUNT)}
RULES = {rule_rows[i].name.decode(): i for i in range(RULE_COUNT)}
KERNEL_SETS = ("blas", "baseline", "avx2", "avx512")

# The kernel set of this process: the best that this build and this processor have, or the one that FASTBPTT_SIMD names.
cdef bint forced = bool(os.environ.get("FASTBPTT_SIMD"))
cdef const Kernels *chosen = choose(os.environ.get("FASTBPTT_SIMD"))


cdef const Kernels *choose(str name) except NULL:
    cdef const Kernels *found
    if not name:
        found = vector_kernels(NULL)
        return found if found != NULL else blas_kernels()
    if name not in KERNEL_SETS:
        raise ImportError(f"FASTBPTT_SIMD must be one of {', '.join(KERNEL_SETS)}, got {name!r}")
    found = blas_kernels() if name == "blas" else vector_kernels(name.encode())
    if found == NULL:
        raise ImportError(f"FASTBPTT_SIMD={name}: this build or this processor has no such kernels")
    return found


cdef const Kernels *kernels_for(Py_ssize_t size, Py_ssize_t H) noexcept nogil:
    """The set of a network, of numbers of this size: the chosen one, or in place of AVX-512's, where no name forces it, AVX2's
    for a narrow network.

    That is one of which half a vector holds a row; and where the processor takes a vector in halves, one whose rows three
    halves hold. Time with AVX2 relative to AVX-512 (T = 50, float32, 2026-11), on an AMD Zen 4, which takes halves: 0.92
    (H = 4), 0.74 (8), 0.98 (24) for one row; 0.76, 0.75, 0.72 for 16 rows; 0.58, 0.62, 0.80 for 64. On a Zen 5 (T = 100),
    which does not: 0.98, 0.98, 1.28 and 1.01, 0.97, 1.43. With H = 16 or 32, where nothing is padded, 1.00 to 1.07; from
    H = 40 on 0.94 to 1.24, in no order (Zen 4). float64 crosses at half these widths.
    """
    cdef const Kernels *avx2
    cdef Py_ssize_t pad = chosen.pad_f32 if size == sizeof(float) else chosen.pad_f64
    if forced or strcmp(chosen.name, b"avx512") != 0 or (H - 1) % pad >= pad // 2:
        return chosen
    if 2 * H > (3 * pad if halves_vectors() else pad):
        return chosen
    avx2 = vector_kernels(b"avx2")
    return avx2 if avx2 != NULL else chosen
