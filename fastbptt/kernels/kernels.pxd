"""Declare the kernels for fused floating: `affine(k, ...)` calls the float32 or the float64 kernel of the set `k`.

kernels.h documents each kernel. Only this file, lanes.pxd and scalar.pxd branch on `if floating is float`. A kernel declared in
kernels.h gets its function here.
"""

from cython cimport floating
from libc cimport math

cdef extern from "parametrizations.h" nogil:
    void map_parameters_f32 "fastbptt_map_parameters_f32"(Py_ssize_t n, const unsigned char *maps, const float *theta,
                                                          float *mapped) noexcept
    void map_parameters_f64 "fastbptt_map_parameters_f64"(Py_ssize_t n, const unsigned char *maps, const double *theta,
                                                          double *mapped) noexcept
    void pull_back_f32 "fastbptt_pull_back_f32"(Py_ssize_t n, const unsigned char *maps, const float *theta,
                                                float *gradient) noexcept
    void pull_back_f64 "fastbptt_pull_back_f64"(Py_ssize_t n, const unsigned char *maps, const double *theta,
                                                double *gradient) noexcept
    void hold_f32 "fastbptt_hold_f32"(Py_ssize_t n, const unsigned char *maps, const float *before, float *theta) noexcept
    void hold_f64 "fastbptt_hold_f64"(Py_ssize_t n, const unsigned char *maps, const double *before, double *theta) noexcept

cdef extern from "draws.h" nogil:
    void add_normals_f32 "fastbptt_add_normals_f32"(unsigned long long key, unsigned int kind, unsigned int step,
                                                    unsigned int sequence, unsigned int call, double scale,
                                                    const double *scales, Py_ssize_t n, float *row) noexcept
    void add_normals_f64 "fastbptt_add_normals_f64"(unsigned long long key, unsigned int kind, unsigned int step,
                                                    unsigned int sequence, unsigned int call, double scale,
                                                    const double *scales, Py_ssize_t n, double *row) noexcept
    void draw_mask_f32 "fastbptt_draw_mask_f32"(unsigned long long key, unsigned int kind, unsigned int sequence,
                                                unsigned int call, double keep, Py_ssize_t n, float *row) noexcept
    void draw_mask_f64 "fastbptt_draw_mask_f64"(unsigned long long key, unsigned int kind, unsigned int sequence,
                                                unsigned int call, double keep, Py_ssize_t n, double *row) noexcept

# The tables of defs/, indexed by the constants below. A constant is declared here only if Cython code names it.
cdef extern from "defs/tables.h" nogil:
    enum:
        HIDDEN "FASTBPTT_HIDDEN"
        OUTPUT "FASTBPTT_OUTPUT"
        NONE "FASTBPTT_NONE"
        CELL_COUNT "FASTBPTT_CELL_COUNT"
        ACTIVATION_COUNT "FASTBPTT_ACTIVATION_COUNT"
        LOSS_COUNT "FASTBPTT_LOSS_COUNT"
        RULE_COUNT "FASTBPTT_RULE_COUNT"
        APART "FASTBPTT_APART"
        GATED "FASTBPTT_GATED"
        SECOND "FASTBPTT_SECOND"
        BOTH_CARRIES "FASTBPTT_BOTH_CARRIES"

    ctypedef struct ActivationRow "struct fastbptt_activation_row":
        const char *name
        int layers
        int reads

    ctypedef struct LossRow "struct fastbptt_loss_row":
        const char *name
        int outputs
        int number

    ctypedef struct RuleRow "struct fastbptt_rule_row":
        const char *name
        int slots

    ctypedef struct CellRow "struct fastbptt_cell_row":
        const char *name
        Py_ssize_t gates, carries, saves
        bint direct
        int product, state
        Py_ssize_t slots

    const CellRow *cell_rows "fastbptt_cells"
    const ActivationRow *activation_rows "fastbptt_activations"
    const LossRow *loss_rows "fastbptt_losses"
    const RuleRow *rule_rows "fastbptt_rules"

cdef extern from "kernels.h" nogil:
    enum:
        TANH "FASTBPTT_TANH"
        SIGMOID "FASTBPTT_SIGMOID"
        IDENTITY "FASTBPTT_IDENTITY"
        SOFTMAX "FASTBPTT_SOFTMAX"

    enum:
        SQUARED_ERROR "FASTBPTT_SQUARED_ERROR"
        HUBER "FASTBPTT_HUBER"
        QUANTILE "FASTBPTT_QUANTILE"
        CROSS_ENTROPY "FASTBPTT_CROSS_ENTROPY"
        GIVEN "FASTBPTT_GIVEN"

    enum:
        SGD "FASTBPTT_SGD"
        ADAM "FASTBPTT_ADAM"

    int outputs_of "fastbptt_outputs_of"(int loss) noexcept  # the output activation that a loss requires, or -1

    bint reads_input "fastbptt_reads_input"(int activation) noexcept

    const double NOISE "FASTBPTT_NOISE"

    enum:
        PLAIN "FASTBPTT_PLAIN"
        RATE "FASTBPTT_RATE"
        CURRENT "FASTBPTT_CURRENT"
        CURRENT_INPUT "FASTBPTT_CURRENT_INPUT"
        PLAIN_INPUT "FASTBPTT_PLAIN_INPUT"

    ctypedef struct Units "fastbptt_units":
        int activation
        int form
        double leak
        const void *leaks
        const void *keeps

    ctypedef struct ErrorOptions "fastbptt_error":
        int activation
        int loss
        Py_ssize_t O
        Py_ssize_t K
        const double *levels
        double threshold
        double scale
        bint settles

    ctypedef struct UpdateOptions "fastbptt_update":
        int rule
        int nesterov
        double learning_rate
        double momentum
        double rho
        double beta_1
        double beta_2
        double epsilon
        double weight_decay
        double correction_1
        double correction_2

    ctypedef struct Verbs_f32 "fastbptt_verbs_f32":
        void (*pack)(Py_ssize_t K, Py_ssize_t N, const float *W, Py_ssize_t stride_k, Py_ssize_t stride_n, float *P,
                     Py_ssize_t ldp) noexcept nogil
        void (*gather)(Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t width, const float *X, Py_ssize_t stride_t,
                       Py_ssize_t stride_b, const Py_ssize_t *index, float *A, Py_ssize_t lda) noexcept nogil
        void (*scatter)(Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t width, const float *A, Py_ssize_t lda, float *X,
                        Py_ssize_t stride_t, Py_ssize_t stride_b, const Py_ssize_t *index) noexcept nogil
        void (*affine)(Py_ssize_t rows, Py_ssize_t K, Py_ssize_t N, const float *A, Py_ssize_t lda, const float *P,
                       Py_ssize_t ldp, const float *b, float *C, Py_ssize_t ldc) noexcept nogil
        void (*add_product)(Py_ssize_t rows, Py_ssize_t K, const float *A, Py_ssize_t lda, const float *P, Py_ssize_t ldp,
                            float *C, Py_ssize_t ldc) noexcept nogil
        void (*recur)(int activation, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const float *P, Py_ssize_t ldh,
                      const float *before, float *S, float *A) noexcept nogil
        double (*error)(const ErrorOptions *what, Py_ssize_t rows, const float *D, Py_ssize_t ldd,
                        const Py_ssize_t *labels, const float *weights, Py_ssize_t weight_width, float *Z,
                        Py_ssize_t ldz, float *losses) noexcept nogil
        void (*recur_back)(int activation, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const float *P,
                           Py_ssize_t ldh, const float *R, const float *later, float *delta) noexcept nogil
        void (*accumulate)(Py_ssize_t rows, Py_ssize_t M, Py_ssize_t N, const float *A, Py_ssize_t lda,
                           const float *B, Py_ssize_t ldb, float *C, Py_ssize_t ldc) noexcept nogil
        void (*column_sums)(Py_ssize_t rows, Py_ssize_t N, const float *A, Py_ssize_t lda, float *sums) noexcept nogil
        void (*update)(const UpdateOptions *what, Py_ssize_t n, const float *gradient, float *theta, float *slot_1,
                       float *slot_2) noexcept nogil
        void (*integrate)(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const float *P, Py_ssize_t ldh,
                          const float *mask, float *masked, const float *before, const float *integrated, float *S,
                          float *other) noexcept nogil
        void (*integrate_back)(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const float *P,
                               Py_ssize_t ldh, const float *mask, float *masked, const float *R, const float *later,
                               float *dU, float *delta) noexcept nogil
        void (*gate)(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const float *P, Py_ssize_t ldh,
                     const float *b_n, const float *mask, float *masked, const float *before, const float *carry_before,
                     float *S, float *carry, float *saves) noexcept nogil
        void (*gate_back)(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const float *P, Py_ssize_t ldh,
                          const float *mask, float *masked, const float *saves, const float *before, const float *later,
                          float *dcarry, float *delta) noexcept nogil

    ctypedef struct Verbs_f64 "fastbptt_verbs_f64":
        void (*pack)(Py_ssize_t K, Py_ssize_t N, const double *W, Py_ssize_t stride_k, Py_ssize_t stride_n, double *P,
                     Py_ssize_t ldp) noexcept nogil
        void (*gather)(Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t width, const double *X, Py_ssize_t stride_t,
                       Py_ssize_t stride_b, const Py_ssize_t *index, double *A, Py_ssize_t lda) noexcept nogil
        void (*scatter)(Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t width, const double *A, Py_ssize_t lda,
                        double *X, Py_ssize_t stride_t, Py_ssize_t stride_b, const Py_ssize_t *index) noexcept nogil
        void (*affine)(Py_ssize_t rows, Py_ssize_t K, Py_ssize_t N, const double *A, Py_ssize_t lda, const double *P,
                       Py_ssize_t ldp, const double *b, double *C, Py_ssize_t ldc) noexcept nogil
        void (*add_product)(Py_ssize_t rows, Py_ssize_t K, const double *A, Py_ssize_t lda, const double *P, Py_ssize_t ldp,
                            double *C, Py_ssize_t ldc) noexcept nogil
        void (*recur)(int activation, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const double *P,
                      Py_ssize_t ldh, const double *before, double *S, double *A) noexcept nogil
        double (*error)(const ErrorOptions *what, Py_ssize_t rows, const double *D, Py_ssize_t ldd,
                        const Py_ssize_t *labels, const double *weights, Py_ssize_t weight_width, double *Z,
                        Py_ssize_t ldz, double *losses) noexcept nogil
        void (*recur_back)(int activation, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const double *P,
                           Py_ssize_t ldh, const double *R, const double *later, double *delta) noexcept nogil
        void (*accumulate)(Py_ssize_t rows, Py_ssize_t M, Py_ssize_t N, const double *A, Py_ssize_t lda,
                           const double *B, Py_ssize_t ldb, double *C, Py_ssize_t ldc) noexcept nogil
        void (*column_sums)(Py_ssize_t rows, Py_ssize_t N, const double *A, Py_ssize_t lda, double *sums) noexcept nogil
        void (*update)(const UpdateOptions *what, Py_ssize_t n, const double *gradient, double *theta, double *slot_1,
                       double *slot_2) noexcept nogil
        void (*integrate)(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const double *P, Py_ssize_t ldh,
                          const double *mask, double *masked, const double *before, const double *integrated, double *S,
                          double *other) noexcept nogil
        void (*integrate_back)(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const double *P,
                               Py_ssize_t ldh, const double *mask, double *masked, const double *R, const double *later,
                               double *dU, double *delta) noexcept nogil
        void (*gate)(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const double *P, Py_ssize_t ldh,
                     const double *b_n, const double *mask, double *masked, const double *before, const double *carry_before,
                     double *S, double *carry, double *saves) noexcept nogil
        void (*gate_back)(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const double *P, Py_ssize_t ldh,
                          const double *mask, double *masked, const double *saves, const double *before, const double *later,
                          double *dcarry, double *delta) noexcept nogil

    ctypedef struct LaneVerbs_f32 "fastbptt_lane_verbs_f32":
        void (*affine)(Py_ssize_t rows, Py_ssize_t K, Py_ssize_t N, const float *x, int shared, const float *W, const float *b,
                       float *C, Py_ssize_t ldc) noexcept nogil
        void (*affine_back)(Py_ssize_t rows, Py_ssize_t K, Py_ssize_t N, const float *x, const float *W,
                            float *C, Py_ssize_t ldc) noexcept nogil
        void (*recur)(int activation, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const float *W, const float *ends,
                      const float *before, float *S, float *A) noexcept nogil
        void (*recur_back)(int activation, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const float *W,
                           const float *ends, const float *R, float *delta) noexcept nogil
        void (*output)(int activation, Py_ssize_t rows, Py_ssize_t O, float *Z) noexcept nogil
        void (*error)(const ErrorOptions *what, Py_ssize_t rows, const float *D, int shared_D, const float *weights,
                      int weight_width, int shared_weights, const float *scale, float *Z, float *losses,
                      double *totals) noexcept nogil
        void (*accumulate)(Py_ssize_t rows, Py_ssize_t M, Py_ssize_t N, const float *A, Py_ssize_t lda, const float *x,
                           int shared, float *C) noexcept nogil
        void (*column_sums)(Py_ssize_t rows, Py_ssize_t N, const float *A, Py_ssize_t lda, float *sums) noexcept nogil
        void (*gather)(Py_ssize_t n, Py_ssize_t count, const float **source, float *target) noexcept nogil
        void (*scatter)(Py_ssize_t n, Py_ssize_t count, const float *source, float **target) noexcept nogil
        void (*update)(const UpdateOptions *what, Py_ssize_t n, const float *rates, const float *going, const float *gradient,
                       float *theta, float *slot_1, float *slot_2) noexcept nogil
        void (*gate)(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const float *W, const float *b_n,
                     const float *ends, const float *before, const float *carry_before, float *S, float *carry, float *saves,
                     float *gated) noexcept nogil
        void (*gate_back)(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const float *W,
                          const float *ends, const float *saves, const float *before, float *delta, float *dcarry,
                          float *start) noexcept nogil

    ctypedef struct LaneVerbs_f64 "fastbptt_lane_verbs_f64":
        void (*affine)(Py_ssize_t rows, Py_ssize_t K, Py_ssize_t N, const double *x, int shared, const double *W,
                       const double *b, double *C, Py_ssize_t ldc) noexcept nogil
        void (*affine_back)(Py_ssize_t rows, Py_ssize_t K, Py_ssize_t N, const double *x, const double *W,
                            double *C, Py_ssize_t ldc) noexcept nogil
        void (*recur)(int activation, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const double *W, const double *ends,
                      const double *before, double *S, double *A) noexcept nogil
        void (*recur_back)(int activation, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const double *W,
                           const double *ends, const double *R, double *delta) noexcept nogil
        void (*output)(int activation, Py_ssize_t rows, Py_ssize_t O, double *Z) noexcept nogil
        void (*error)(const ErrorOptions *what, Py_ssize_t rows, const double *D, int shared_D, const double *weights,
                      int weight_width, int shared_weights, const double *scale, double *Z, double *losses,
                      double *totals) noexcept nogil
        void (*accumulate)(Py_ssize_t rows, Py_ssize_t M, Py_ssize_t N, const double *A, Py_ssize_t lda, const double *x,
                           int shared, double *C) noexcept nogil
        void (*column_sums)(Py_ssize_t rows, Py_ssize_t N, const double *A, Py_ssize_t lda, double *sums) noexcept nogil
        void (*gather)(Py_ssize_t n, Py_ssize_t count, const double **source, double *target) noexcept nogil
        void (*scatter)(Py_ssize_t n, Py_ssize_t count, const double *source, double **target) noexcept nogil
        void (*update)(const UpdateOptions *what, Py_ssize_t n, const double *rates, const double *going,
                       const double *gradient, double *theta, double *slot_1, double *slot_2) noexcept nogil
        void (*gate)(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const double *W, const double *b_n,
                     const double *ends, const double *before, const double *carry_before, double *S, double *carry,
                     double *saves, double *gated) noexcept nogil
        void (*gate_back)(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const double *W,
                          const double *ends, const double *saves, const double *before, double *delta, double *dcarry,
                          double *start) noexcept nogil

    ctypedef struct Kernels "fastbptt_kernels":
        const char *name
        Py_ssize_t pad_f32
        Py_ssize_t pad_f64
        Verbs_f32 f32
        Verbs_f64 f64
        Py_ssize_t lanes_f32
        Py_ssize_t lanes_f64
        LaneVerbs_f32 lane_f32
        LaneVerbs_f64 lane_f64

    const Kernels *vector_kernels "fastbptt_vector_kernels"(const char *name)
    bint halves_vectors "fastbptt_halves_vectors"()


cdef inline void pack(const Kernels *k, Py_ssize_t K, Py_ssize_t N, const floating *W, Py_ssize_t stride_k,
                      Py_ssize_t stride_n, floating *P, Py_ssize_t ldp) noexcept nogil:
    if floating is float:
        k.f32.pack(K, N, W, stride_k, stride_n, P, ldp)
    else:
        k.f64.pack(K, N, W, stride_k, stride_n, P, ldp)


cdef inline void gather(const Kernels *k, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t width, const floating *X,
                        Py_ssize_t stride_t, Py_ssize_t stride_b, const Py_ssize_t *index, floating *A,
                        Py_ssize_t lda) noexcept nogil:
    if floating is float:
        k.f32.gather(steps, rows, width, X, stride_t, stride_b, index, A, lda)
    else:
        k.f64.gather(steps, rows, width, X, stride_t, stride_b, index, A, lda)


cdef inline void scatter(const Kernels *k, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t width, const floating *A,
                         Py_ssize_t lda, floating *X, Py_ssize_t stride_t, Py_ssize_t stride_b,
                         const Py_ssize_t *index) noexcept nogil:
    if floating is float:
        k.f32.scatter(steps, rows, width, A, lda, X, stride_t, stride_b, index)
    else:
        k.f64.scatter(steps, rows, width, A, lda, X, stride_t, stride_b, index)


cdef inline void affine(const Kernels *k, Py_ssize_t rows, Py_ssize_t K, Py_ssize_t N, const floating *A,
                        Py_ssize_t lda, const floating *P, Py_ssize_t ldp, const floating *b, floating *C,
                        Py_ssize_t ldc) noexcept nogil:
    if floating is float:
        k.f32.affine(rows, K, N, A, lda, P, ldp, b, C, ldc)
    else:
        k.f64.affine(rows, K, N, A, lda, P, ldp, b, C, ldc)


cdef inline void add_product(const Kernels *k, Py_ssize_t rows, Py_ssize_t K, const floating *A, Py_ssize_t lda,
                             const floating *P, Py_ssize_t ldp, floating *C, Py_ssize_t ldc) noexcept nogil:
    if floating is float:
        k.f32.add_product(rows, K, A, lda, P, ldp, C, ldc)
    else:
        k.f64.add_product(rows, K, A, lda, P, ldp, C, ldc)


cdef inline void recur(const Kernels *k, int activation, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H,
                       const floating *P, Py_ssize_t ldh, const floating *before, floating *S,
                       floating *A) noexcept nogil:
    if floating is float:
        k.f32.recur(activation, steps, rows, H, P, ldh, before, S, A)
    else:
        k.f64.recur(activation, steps, rows, H, P, ldh, before, S, A)


cdef inline double error(const Kernels *k, const ErrorOptions *what, Py_ssize_t rows, const floating *D,
                         Py_ssize_t ldd, const Py_ssize_t *labels, const floating *weights, Py_ssize_t weight_width,
                         floating *Z, Py_ssize_t ldz, floating *losses) noexcept nogil:
    if floating is float:
        return k.f32.error(what, rows, D, ldd, labels, weights, weight_width, Z, ldz, losses)
    else:
        return k.f64.error(what, rows, D, ldd, labels, weights, weight_width, Z, ldz, losses)


cdef inline void recur_back(const Kernels *k, int activation, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H,
                            const floating *P, Py_ssize_t ldh, const floating *R, const floating *later,
                            floating *delta) noexcept nogil:
    if floating is float:
        k.f32.recur_back(activation, steps, rows, H, P, ldh, R, later, delta)
    else:
        k.f64.recur_back(activation, steps, rows, H, P, ldh, R, later, delta)


cdef inline void accumulate(const Kernels *k, Py_ssize_t rows, Py_ssize_t M, Py_ssize_t N, const floating *A,
                            Py_ssize_t lda, const floating *B, Py_ssize_t ldb, floating *C,
                            Py_ssize_t ldc) noexcept nogil:
    if floating is float:
        k.f32.accumulate(rows, M, N, A, lda, B, ldb, C, ldc)
    else:
        k.f64.accumulate(rows, M, N, A, lda, B, ldb, C, ldc)


cdef inline void column_sums(const Kernels *k, Py_ssize_t rows, Py_ssize_t N, const floating *A, Py_ssize_t lda,
                             floating *sums) noexcept nogil:
    if floating is float:
        k.f32.column_sums(rows, N, A, lda, sums)
    else:
        k.f64.column_sums(rows, N, A, lda, sums)


cdef inline void update(const Kernels *k, const UpdateOptions *what, Py_ssize_t n, const floating *gradient,
                        floating *theta, floating *slot_1, floating *slot_2) noexcept nogil:
    if floating is float:
        k.f32.update(what, n, gradient, theta, slot_1, slot_2)
    else:
        k.f64.update(what, n, gradient, theta, slot_1, slot_2)


cdef inline void integrate(const Kernels *k, const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H,
                           const floating *P, Py_ssize_t ldh, const floating *mask, floating *masked, const floating *before,
                           const floating *integrated, floating *S, floating *other) noexcept nogil:
    if floating is float:
        k.f32.integrate(what, steps, rows, H, P, ldh, mask, masked, before, integrated, S, other)
    else:
        k.f64.integrate(what, steps, rows, H, P, ldh, mask, masked, before, integrated, S, other)


cdef inline void integrate_back(const Kernels *k, const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H,
                                const floating *P, Py_ssize_t ldh, const floating *mask, floating *masked, const floating *R,
                                const floating *later, floating *dU, floating *delta) noexcept nogil:
    if floating is float:
        k.f32.integrate_back(what, steps, rows, H, P, ldh, mask, masked, R, later, dU, delta)
    else:
        k.f64.integrate_back(what, steps, rows, H, P, ldh, mask, masked, R, later, dU, delta)


cdef inline void gate(const Kernels *k, const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const floating *P,
                      Py_ssize_t ldh, const floating *b_n, const floating *mask, floating *masked, const floating *before,
                      const floating *carry_before, floating *S, floating *carry, floating *saves) noexcept nogil:
    if floating is float:
        k.f32.gate(what, steps, rows, H, P, ldh, b_n, mask, masked, before, carry_before, S, carry, saves)
    else:
        k.f64.gate(what, steps, rows, H, P, ldh, b_n, mask, masked, before, carry_before, S, carry, saves)


cdef inline void gate_back(const Kernels *k, const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H,
                           const floating *P, Py_ssize_t ldh, const floating *mask, floating *masked, const floating *saves,
                           const floating *before, const floating *later, floating *dcarry, floating *delta) noexcept nogil:
    if floating is float:
        k.f32.gate_back(what, steps, rows, H, P, ldh, mask, masked, saves, before, later, dcarry, delta)
    else:
        k.f64.gate_back(what, steps, rows, H, P, ldh, mask, masked, saves, before, later, dcarry, delta)


cdef inline Py_ssize_t padded(const Kernels *k, Py_ssize_t width, const floating *of) noexcept nogil:
    """Return `width` rounded up to the set's pad for the type of `of`."""
    cdef Py_ssize_t pad = k.pad_f32 if floating is float else k.pad_f64
    return (width + pad - 1) // pad * pad



cdef inline floating exp(floating x) noexcept nogil:
    if floating is float:
        return math.expf(x)
    else:
        return math.exp(x)


cdef inline floating log(floating x) noexcept nogil:
    if floating is float:
        return math.logf(x)
    else:
        return math.log(x)


cdef inline floating fabs(floating x) noexcept nogil:
    if floating is float:
        return math.fabsf(x)
    else:
        return math.fabs(x)


# ---- Parametrizations: parametrizations.h


cdef inline void map_parameters(Py_ssize_t n, const unsigned char *maps, const floating *theta,
                                floating *mapped) noexcept nogil:
    if floating is float:
        map_parameters_f32(n, maps, theta, mapped)
    else:
        map_parameters_f64(n, maps, theta, mapped)


cdef inline void pull_back(Py_ssize_t n, const unsigned char *maps, const floating *theta, floating *gradient) noexcept nogil:
    if floating is float:
        pull_back_f32(n, maps, theta, gradient)
    else:
        pull_back_f64(n, maps, theta, gradient)


cdef inline void hold(Py_ssize_t n, const unsigned char *maps, const floating *before, floating *theta) noexcept nogil:
    if floating is float:
        hold_f32(n, maps, before, theta)
    else:
        hold_f64(n, maps, before, theta)


# ---- Noise and dropout: draws.h


cdef inline void add_normals(unsigned long long key, unsigned int kind, unsigned int step, unsigned int sequence,
                             unsigned int call, double scale, const double *scales, Py_ssize_t n,
                             floating *row) noexcept nogil:
    if floating is float:
        add_normals_f32(key, kind, step, sequence, call, scale, scales, n, row)
    else:
        add_normals_f64(key, kind, step, sequence, call, scale, scales, n, row)


cdef inline void draw_mask(unsigned long long key, unsigned int kind, unsigned int sequence, unsigned int call, double keep,
                           Py_ssize_t n, floating *row) noexcept nogil:
    if floating is float:
        draw_mask_f32(key, kind, sequence, call, keep, n, row)
    else:
        draw_mask_f64(key, kind, sequence, call, keep, n, row)
