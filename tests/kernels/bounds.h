/* What harness.c and ulps.c hold the elementary functions to */
/* The bounds that simd.h states, in units in the last place; 0: to the bit */
static double ulp_bound(int activation, int bits)
{
    switch (activation) {
    case FASTBPTT_TANH: return bits == 32 ? 1.21 : 2.2;
    case FASTBPTT_SIGMOID: return 2.5;
    case FASTBPTT_SOFTPLUS: return 2.9;
    case FASTBPTT_ELU: return 1.3;
    case FASTBPTT_SOFTSIGN: return 1.5;
    case FASTBPTT_EXP: return 1.1;
    case FASTBPTT_LEAKY_RELU: return 1.5; /* the slope and the product are rounded */
    }
    return 0;
}
