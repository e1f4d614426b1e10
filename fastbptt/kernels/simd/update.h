/* One update of all parameters by a rule. Part of simd.h, and of scalar.h.
 *
 * Formulas of single rules belong in defs/rules.h.
 */

/* ---- Updates: loops that the compiler makes vectors of */

static void NAME(update)(const fastbptt_update *what, ptrdiff_t n, const real *restrict gradient, real *restrict theta,
                         real *restrict slot_1, real *restrict slot_2)
{
    const real eta = (real)what->learning_rate, epsilon = (real)what->epsilon, momentum = (real)what->momentum;
    const real rho = (real)what->rho, new = (real)(1 - what->rho);
    const real beta_1 = (real)what->beta_1, new_1 = (real)(1 - what->beta_1);
    const real beta_2 = (real)what->beta_2, new_2 = (real)(1 - what->beta_2);
    const real correction_1 = (real)what->correction_1, correction_2 = (real)what->correction_2;
    const real decay = what->rule == FASTBPTT_ADAMW ? (real)(1 - what->learning_rate * what->weight_decay) : 1;
    ptrdiff_t i;
    switch (what->rule) {
    case FASTBPTT_SGD:
        for (i = 0; i < n; i++) {
            slot_1[i] = momentum * slot_1[i] + gradient[i];
            theta[i] -= eta * (what->nesterov ? gradient[i] + momentum * slot_1[i] : slot_1[i]);
        }
        break;
    case FASTBPTT_RMSPROP:
        for (i = 0; i < n; i++) {
            slot_1[i] = rho * slot_1[i] + new * gradient[i] * gradient[i];
            theta[i] -= eta * gradient[i] / (SQRT(slot_1[i]) + epsilon);
        }
        break;
    case FASTBPTT_ADAGRAD:
        for (i = 0; i < n; i++) {
            slot_1[i] += gradient[i] * gradient[i];
            theta[i] -= eta * gradient[i] / (SQRT(slot_1[i]) + epsilon);
        }
        break;
    default: /* Adam, AdamW */
        for (i = 0; i < n; i++) {
            slot_1[i] = beta_1 * slot_1[i] + new_1 * gradient[i];
            slot_2[i] = beta_2 * slot_2[i] + new_2 * gradient[i] * gradient[i];
            theta[i] = theta[i] * decay - eta * (slot_1[i] / correction_1) / (SQRT(slot_2[i] / correction_2) + epsilon);
        }
    }
}
