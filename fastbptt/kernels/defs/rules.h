/* The formulas of update rules, once for single numbers (simd/update.h) and once for vectors of networks (lanes.h).
 *
 * A new rule is a row in rules.def and its function here: it returns theta after one update by the gradient g, and
 * overwrites the slots that it has. The includer defines T (a number of theta), `real`, INLINE, RULE_NAME, ROOT (the square
 * root) and CORRECTED (x by a correction: the quotient, or where the options hold the reciprocals the product).
 */

/* The options of an update in the type of its numbers */
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

/* What Adam and AdamW subtract */
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
