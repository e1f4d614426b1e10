/* What harness.c and ulps.c hold the elementary functions to */
/* What an error may be in addition, in units of the least subnormal number. Silu and gelu multiply a number below 1024 by a
 * factor, which is rounded as a subnormal number where the result is next to nothing; the core counts it as 0 there. */
static double vanishing(int activation, int fraction, int lowest, double expected)
{
    return fastbptt_reads_input(activation) && fabs(expected) < ldexp(1024, lowest + fraction) ? 1024 : 0;
}

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
    case FASTBPTT_SILU: return 3.4;
    case FASTBPTT_GELU: return bits == 32 ? 7.5 : 10;
    case FASTBPTT_LEAKY_RELU: return 1.5; /* the slope and the product are rounded */
    }
    return 0;
}
