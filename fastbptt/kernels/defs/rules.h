/* The formulas of update rules, included for single numbers (simd/update.h) and for vectors of networks (lanes.h).
 *
 * To add a rule, add a row to rules.def and its function here. The function returns theta after one update by the gradient g,
 * and updates its slots. The including file defines T (the type of theta), `real`, INLINE, RULE_NAME, ROOT (the square root)
 * and CORRECTED (x divided by a correction, or multiplied by it if the options hold reciprocals).
 */

/* The options of an update, in the types of its numbers */
typedef struct {
    T eta, decay; /* decay: 1 - eta * weight_decay */
    real epsilon, momentum, rho, new_rho, beta_1, new_1, beta_2, new_2, correction_1, correction_2;
    int nesterov;
} RULE_NAME(options);

static INLINE T RULE_NAME(sgd)(const RULE_NAME(options) *by, T g, T theta, T *slot_1, T *slot_2)
{
    (void)slot_2;
    *slot_1 = by->momentum * *slot_1 + g;
    return theta - by->eta * (by->nesterov ? g + by->momentum * *slot_1 : *slot_1);
}

static INLINE T RULE_NAME(rmsprop)(const RULE_NAME(options) *by, T g, T theta, T *slot_1, T *slot_2)
{
    (void)slot_2;
    *slot_1 = by->rho * *slot_1 + by->new_rho * g * g;
    return theta - by->eta * g / (ROOT(*slot_1) + by->epsilon);
}

static INLINE T RULE_NAME(adagrad)(const RULE_NAME(options) *by, T g, T theta, T *slot_1, T *slot_2)
{
    (void)slot_2;
    *slot_1 = *slot_1 + g * g;
    return theta - by->eta * g / (ROOT(*slot_1) + by->epsilon);
}

/* Return the step that Adam and AdamW subtract from theta. */
static INLINE T RULE_NAME(adam_step)(const RULE_NAME(options) *by, T g, T *slot_1, T *slot_2)
{
    *slot_1 = by->beta_1 * *slot_1 + by->new_1 * g;
    *slot_2 = by->beta_2 * *slot_2 + by->new_2 * g * g;
    return by->eta * CORRECTED(*slot_1, by->correction_1) / (ROOT(CORRECTED(*slot_2, by->correction_2)) + by->epsilon);
}

static INLINE T RULE_NAME(adam)(const RULE_NAME(options) *by, T g, T theta, T *slot_1, T *slot_2)
{
    return theta - RULE_NAME(adam_step)(by, g, slot_1, slot_2);
}

static INLINE T RULE_NAME(adamw)(const RULE_NAME(options) *by, T g, T theta, T *slot_1, T *slot_2)
{
    return theta * by->decay - RULE_NAME(adam_step)(by, g, slot_1, slot_2);
}
