// Loss and gradients by oneDNN's vanilla_rnn, for contenders/onednn.py; built by build_onednn.py.
//
// All arrays are the caller's and stand still: theta and gradient are W_x (H, I), W_s (H, H), b_s (H), W_y (O, H) and
// b_y (O) one behind the other. The initial state is given as zeros: without one the gradient of W_s is wrong (found
// with oneDNN 3.2). vanilla_rnn's backward pass computes the gradient of X too, and cannot be told not to. It adds to
// the gradients of the weights, which are therefore set to zero before. Weights are brought into the layouts that it
// asks for in every call, since they change from call to call.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>
#include <omp.h>

using namespace dnnl;
using Desc = memory::desc;
using Tag = memory::format_tag;

namespace {

const auto f32 = memory::data_type::f32;

// What oneDNN computes forward, of kind training or inference, for arrays of these shapes and layouts.
vanilla_rnn_forward::primitive_desc forward_desc(const engine &e, prop_kind kind, const Desc &X, const Desc &S_0,
                                                 const Desc &W_x, const Desc &W_s, const Desc &b, const Desc &S) {
    const auto tanh = algorithm::eltwise_tanh;
    const auto onward = rnn_direction::unidirectional_left2right;
#if DNNL_VERSION_MAJOR >= 3
    return {e, kind, tanh, onward, X, S_0, W_x, W_s, b, S, Desc()};
#else
    return {vanilla_rnn_forward::desc(kind, tanh, onward, X, S_0, W_x, W_s, b, S, Desc()), e};
#endif
}

// What oneDNN computes backward, after the training pass `forward`. Gradients have the layouts of their arrays.
vanilla_rnn_backward::primitive_desc backward_desc(const engine &e, const Desc &X, const Desc &S_0, const Desc &W_x,
                                                   const Desc &W_s, const Desc &b, const Desc &S,
                                                   const vanilla_rnn_forward::primitive_desc &forward) {
    const auto tanh = algorithm::eltwise_tanh;
    const auto onward = rnn_direction::unidirectional_left2right;
#if DNNL_VERSION_MAJOR >= 3
    return {e, prop_kind::backward, tanh, onward, X, S_0, W_x, W_s, b, S, Desc(), X, S_0, W_x, W_s, b, S, Desc(),
            forward};
#else
    return {vanilla_rnn_backward::desc(prop_kind::backward, tanh, onward, X, S_0, W_x, W_s, b, S, Desc(), X, S_0, W_x,
                                       W_s, b, S, Desc()), e, forward};
#endif
}

// A network and its batch: the passes of oneDNN, made once for the shape, and the memory that they work on.
struct Driver {
    memory::dim B, T, I, H, O;
    int threads;
    const float *D;
    float *theta, *gradient, *Y;
    float *W_y, *b_y, *dW_y, *db_y;
    engine cpu{engine::kind::cpu, 0};
    stream queue{cpu};
    vanilla_rnn_forward::primitive_desc training, inference;
    vanilla_rnn_backward::primitive_desc back;
    vanilla_rnn_forward train, infer;
    vanilla_rnn_backward backward;
    memory X, S_0, W_x, W_s, b_s, S, workspace, dX, dS_0, dW_x, dW_s, db_s, dS;  // as the caller has them
    memory train_W_x, train_W_s, infer_W_x, infer_W_s, back_W_x, back_W_s, back_dW_x, back_dW_s;  // as oneDNN asks
    std::vector<float> m, v;

    // sizes: B, T, I, H, O and threads. X (T, B, I), D and Y (T, B, O), theta and gradient are kept, not copied.
    Driver(const int64_t *sizes, const float *X_, const float *D_, float *theta_, float *gradient_, float *Y_)
        : B(sizes[0]), T(sizes[1]), I(sizes[2]), H(sizes[3]), O(sizes[4]), threads(int(sizes[5])), D(D_),
          theta(theta_), gradient(gradient_), Y(Y_) {
        omp_set_num_threads(threads);
        const Desc x({T, B, I}, f32, Tag::tnc), s({T, B, H}, f32, Tag::tnc), s_0({1, 1, B, H}, f32, Tag::ldnc);
        const Desc w_x({1, 1, I, 1, H}, f32, Tag::ldgoi), w_s({1, 1, H, 1, H}, f32, Tag::ldgoi);
        const Desc b({1, 1, 1, H}, f32, Tag::ldgo);
        const Desc any_x({1, 1, I, 1, H}, f32, Tag::any), any_s({1, 1, H, 1, H}, f32, Tag::any);
        training = forward_desc(cpu, prop_kind::forward_training, x, s_0, any_x, any_s, b, s);
        inference = forward_desc(cpu, prop_kind::forward_inference, x, s_0, any_x, any_s, b, s);
        back = backward_desc(cpu, x, s_0, any_x, any_s, b, s, training);
        train = vanilla_rnn_forward(training);
        infer = vanilla_rnn_forward(inference);
        backward = vanilla_rnn_backward(back);

        float *p = theta, *g = gradient;
        const memory::dim to_s = H * I, to_b = to_s + H * H, to_y = to_b + H, to_by = to_y + O * H;
        W_x = memory(w_x, cpu, p);
        W_s = memory(w_s, cpu, p + to_s);
        b_s = memory(b, cpu, p + to_b);
        W_y = p + to_y;
        b_y = p + to_by;
        dW_x = memory(w_x, cpu, g);
        dW_s = memory(w_s, cpu, g + to_s);
        db_s = memory(b, cpu, g + to_b);
        dW_y = g + to_y;
        db_y = g + to_by;
        X = memory(x, cpu, const_cast<float *>(X_));
        S_0 = zeros(s_0);
        S = zeros(s);
        dX = zeros(x);
        dS_0 = zeros(s_0);
        dS = zeros(s);
        workspace = memory(training.workspace_desc(), cpu);
        train_W_x = like(W_x, training.weights_layer_desc());
        train_W_s = like(W_s, training.weights_iter_desc());
        infer_W_x = like(W_x, inference.weights_layer_desc());
        infer_W_s = like(W_s, inference.weights_iter_desc());
        back_W_x = like(W_x, back.weights_layer_desc());
        back_W_s = like(W_s, back.weights_iter_desc());
        back_dW_x = like(dW_x, back.diff_weights_layer_desc());
        back_dW_s = like(dW_s, back.diff_weights_iter_desc());
        m.assign(to_by + O, 0);
        v.assign(to_by + O, 0);
    }

    // New memory of that shape and layout, filled with zeros.
    memory zeros(const Desc &desc) {
        memory made(desc, cpu);
        clear(made);
        return made;
    }

    // `own` itself where it has the layout that oneDNN asks for, else new memory in that layout.
    memory like(const memory &own, const Desc &asked) { return own.get_desc() == asked ? own : zeros(asked); }

    // Set to zero.
    static void clear(memory &array) {
        char *data = static_cast<char *>(array.get_data_handle());
        std::fill(data, data + array.get_desc().get_size(), 0);
    }

    // Copy to the other layout, unless both are the same memory (see `like`).
    void bring(memory &from, memory &to) {
        if (from.get_data_handle() != to.get_data_handle()) reorder(from, to).execute(queue, from, to);
    }

    void outputs() {  // Y (T B, O) = S (T B, H) W_yᵀ + b_y
        for (memory::dim r = 0; r < T * B; r++) std::copy(b_y, b_y + O, Y + r * O);
        sgemm('N', 'T', T * B, O, H, 1, states(), H, W_y, H, 1, Y, O);
    }

    // S (T, B, H).
    float *states() { return static_cast<float *>(S.get_data_handle()); }

    // Y from X and the parameters, without what a backward pass would need.
    void forward() {
        omp_set_num_threads(threads);
        bring(W_x, infer_W_x);
        bring(W_s, infer_W_s);
        infer.execute(queue, {{DNNL_ARG_SRC_LAYER, X}, {DNNL_ARG_SRC_ITER, S_0}, {DNNL_ARG_WEIGHTS_LAYER, infer_W_x},
                              {DNNL_ARG_WEIGHTS_ITER, infer_W_s}, {DNNL_ARG_BIAS, b_s}, {DNNL_ARG_DST_LAYER, S}});
        queue.wait();
        outputs();
    }

    // The loss, squared errors summed over outputs and divided by T B. The gradients are in `gradient`, and δy in Y.
    double gradients() {
        omp_set_num_threads(threads);
        bring(W_x, train_W_x);
        bring(W_s, train_W_s);
        train.execute(queue, {{DNNL_ARG_SRC_LAYER, X}, {DNNL_ARG_SRC_ITER, S_0}, {DNNL_ARG_WEIGHTS_LAYER, train_W_x},
                              {DNNL_ARG_WEIGHTS_ITER, train_W_s}, {DNNL_ARG_BIAS, b_s}, {DNNL_ARG_DST_LAYER, S},
                              {DNNL_ARG_WORKSPACE, workspace}});
        queue.wait();
        outputs();

        const float scale = 2.0f / (T * B);
        double loss = 0;
        std::fill(db_y, db_y + O, 0.0f);
        for (memory::dim r = 0; r < T * B; r++) {
            float row = 0;
            for (memory::dim o = 0; o < O; o++) {
                const float difference = Y[r * O + o] - D[r * O + o];
                row += difference * difference;
                Y[r * O + o] = scale * difference;
                db_y[o] += scale * difference;
            }
            loss += row;
        }
        sgemm('T', 'N', O, H, T * B, 1, Y, O, states(), H, 0, dW_y, H);
        sgemm('N', 'N', T * B, H, O, 1, Y, O, W_y, H, 0, static_cast<float *>(dS.get_data_handle()), H);

        bring(W_x, back_W_x);
        bring(W_s, back_W_s);
        clear(back_dW_x);
        clear(back_dW_s);
        clear(db_s);
        backward.execute(queue, {{DNNL_ARG_SRC_LAYER, X}, {DNNL_ARG_SRC_ITER, S_0}, {DNNL_ARG_WEIGHTS_LAYER, back_W_x},
                                 {DNNL_ARG_WEIGHTS_ITER, back_W_s}, {DNNL_ARG_BIAS, b_s}, {DNNL_ARG_DST_LAYER, S},
                                 {DNNL_ARG_WORKSPACE, workspace}, {DNNL_ARG_DIFF_SRC_LAYER, dX},
                                 {DNNL_ARG_DIFF_SRC_ITER, dS_0}, {DNNL_ARG_DIFF_WEIGHTS_LAYER, back_dW_x},
                                 {DNNL_ARG_DIFF_WEIGHTS_ITER, back_dW_s}, {DNNL_ARG_DIFF_BIAS, db_s},
                                 {DNNL_ARG_DIFF_DST_LAYER, dS}});
        queue.wait();
        bring(back_dW_x, dW_x);
        bring(back_dW_s, dW_s);
        queue.wait();
        return loss / (T * B);
    }

    // The loss before a step of Adam. rate and root: its step length and √(1 − β2^n), both for update n.
    double adam(double rate, double root) {
        const double loss = gradients();
        const float step = rate, inverse = 1 / root;
        for (size_t n = 0; n < m.size(); n++) {
            m[n] = 0.9f * m[n] + 0.1f * gradient[n];
            v[n] = 0.999f * v[n] + 0.001f * gradient[n] * gradient[n];
            theta[n] -= step * m[n] / (std::sqrt(v[n]) * inverse + 1e-8f);
        }
        return loss;
    }
};

}  // namespace

extern "C" {

// "oneDNN 3.2.0".
const char *driver_version() {
    static char text[32];
    const auto *version = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
    return text;
}

// A new Driver, or NULL where oneDNN failed; driver_free frees it.
void *driver_make(const int64_t *sizes, const float *X, const float *D, float *theta, float *gradient, float *Y) {
    try {
        return new Driver(sizes, X, D, theta, gradient, Y);
    } catch (const dnnl::error &) {
        return nullptr;
    }
}

void driver_free(void *driver) { delete static_cast<Driver *>(driver); }

// The loss, or NaN where oneDNN failed; Y holds δy afterwards.
double driver_gradients(void *driver) {
    try {
        return static_cast<Driver *>(driver)->gradients();
    } catch (const dnnl::error &) {
        return NAN;
    }
}

// The loss, or NaN where oneDNN failed.
double driver_adam(void *driver, double rate, double root) {
    try {
        return static_cast<Driver *>(driver)->adam(rate, root);
    } catch (const dnnl::error &) {
        return NAN;
    }
}

// 0, or 1 where oneDNN failed.
int driver_forward(void *driver) {
    try {
        static_cast<Driver *>(driver)->forward();
        return 0;
    } catch (const dnnl::error &) {
        return 1;
    }
}
}
