/* Update all parameters by a rule. Part of simd.h, and of scalar.h.
 *
 * The loops process one number at a time, and the compiler vectorises them. Formulas of rules belong in defs/rules.h.
 */

#define T real
#define RULE_NAME(name) NAME(rule_##name)
#define ROOT(x) SQRT(x)
#define CORRECTED(x, correction) ((x) / (correction))
#include "../defs/rules.h"
#undef T
#undef ROOT
#undef CORRECTED

/* Update theta and the slots. A rule that is not in the table gives NaN. */
static void NAME(update)(const fastbptt_update *what, ptrdiff_t n, const real *restrict gradient, real *restrict theta,
                         real *restrict slot_1, real *restrict slot_2)
{
    const NAME(rule_options) by = {
        (real)what->learning_rate, (real)(1 - what->learning_rate * what->weight_decay), (real)what->epsilon,
        (real)what->momentum, (real)what->rho, (real)(1 - what->rho), (real)what->beta_1, (real)(1 - what->beta_1),
        (real)what->beta_2, (real)(1 - what->beta_2), (real)what->correction_1, (real)what->correction_2, what->nesterov
    };
    ptrdiff_t i;
    switch ((enum fastbptt_rule)what->rule) {
#define RULE(CONSTANT, name, slots) \
    case FASTBPTT_##CONSTANT: \
        for (i = 0; i < n; i++) { \
            real s_1 = slot_1[i], s_2 = (slots) > 1 ? slot_2[i] : 0; \
            theta[i] = RULE_NAME(name)(&by, gradient[i], theta[i], &s_1, &s_2); \
            slot_1[i] = s_1; \
            if ((slots) > 1) \
                slot_2[i] = s_2; \
        } \
        return;
#include "../defs/rules.def"
    }
    for (i = 0; i < n; i++)
        theta[i] = (real)NAN;
}

#undef RULE_NAME
