// The gradient of a loss by the weights of a density network, where the loss depends on energies and forces.
//
// With a_i the derivative of the loss by the local energies and w_ij that by the slopes s_ij of sum_i c_i e_i,
// the gradient is that of  sum_i a_i e_i + sum_i c_i de_i,  de_i the change of e_i for bonds that change by w.
// So everything is computed in dual numbers, value and change: forward for bonds (r, w), backward for seeds
// (c, a); the change of the gradient by a weight is the gradient of the loss (Pearlmutter, Neural Comput. 6,
// 147, 1994). Nothing is propagated to the bonds.
//
// Tables have twice the rows of native.cpp, (component, 2 * atoms, channel): values, then changes. Slopes have
// changes first, then values: the gradient of a matrix is then a single product of rows with slopes of rows.

#include "native_common.h"

namespace {

// Gradients by the weights, added up; null where a layer has none.
template <class T> struct Gradients {
    T *density, *radial, *factors, *emit, *centre, *scalars, *outer, *readout, *readout_outer, *update;
};

template <class T> struct Arguments {
    Input<T> input;
    const T *seeds, *by_energies, *by_slopes;
    const Gradients<T>* gradients;
    Int stride;  // Values from the gradients of one thread to those of the next.
};

template <class T> struct Dual {
    Vec<T> v, d;
    Dual operator+(const Dual& o) const { return {v + o.v, d + o.d}; }
    Dual operator*(const Dual& o) const { return {v * o.v, v * o.d + d * o.v}; }
};
template <class T> inline Dual<T> dual(const T* value, const T* change) { return {load(value), load(change)}; }

template <class T> struct Training : Network<T> {
    using Base = Network<T>;
    using Base::in, Base::C, Base::L, Base::M, Base::MF, Base::R, Base::RP, Base::ER, Base::H, Base::MP;
    using Base::degrees, Base::features, Base::layers, Base::near, Base::widest, Base::threads, Base::scale;
    using Base::first, Base::bond, Base::opposite, Base::direction, Base::inverse, Base::harmonics;
    using Base::radial, Base::derivative, Base::bonds_of, Base::degree_out, Base::split_row, Base::parity_rows;
    using Base::logistic, Base::silu_slope;

    Arguments<T> own;
    // Changes of the basis; of every layer: densities, factors, products, hidden values and features;
    // of all layers but the last: what is sent, and its slopes.
    T *harmonics_d, *radial_d, *kept_density, *kept_factors, *kept_products, *kept_hidden, *kept_features;
    T *sent, *sent_d, *received, *received_d;
    Int widest_row;

    struct Scratch {
        T *slope_density, *fields, *fields_d, *products, *products_d, *first, *active, *last, *plain;
        T *slope_factors, *slope_products, *slope_features, *by_emitted, *expanded, *expanded_d;
        T *table, *table_d, *message, *message_d, *shown, *shown_d;
        Int thread;
    };
    Scratch scratch[256];

    explicit Training(const Arguments<T>& arguments) : Network<T>(arguments.input), own(arguments) {
        widest_row = std::max(C, ER);
    }

    void lay_out_rest(Arena& arena) {
        this->lay_out_basis(arena);
        const Int between = layers - 1, points = this->most_points(), rows = 2 * BLOCK * M;
        harmonics_d = arena.take<T>(near * MP);
        radial_d = arena.take<T>(near * RP);
        kept_density = arena.take<T>(layers * in.atoms * 2 * M * widest_row);
        kept_factors = arena.take<T>(layers * in.atoms * 2 * M * 3 * C);
        kept_products = arena.take<T>(layers * in.atoms * 2 * MF * 2 * C);
        kept_hidden = arena.take<T>(layers * in.atoms * 2 * 2 * H);
        kept_features = arena.take<T>(layers * in.atoms * 2 * MF * C);
        sent = arena.take<T>(between * near * C);
        sent_d = arena.take<T>(between * near * C);
        received = arena.take<T>(between * near * C);
        received_d = arena.take<T>(between * near * C);
        for (Int k = 0; k < threads; ++k) {
            Scratch& s = scratch[k];
            s.slope_density = arena.take<T>(rows * widest_row);
            s.fields = arena.take<T>(BLOCK * points * 6 * C);
            s.fields_d = arena.take<T>(BLOCK * points * 6 * C);
            s.products = arena.take<T>(points * 4 * 2 * W<T>);
            s.products_d = arena.take<T>(points * 4 * 2 * W<T>);
            s.first = arena.take<T>(2 * BLOCK * (H + C));
            s.active = arena.take<T>(2 * BLOCK * H);
            s.last = arena.take<T>(2 * BLOCK * (H + W<T>));
            s.plain = arena.take<T>(rows * 3 * C);
            s.slope_factors = arena.take<T>(rows * 3 * C);
            s.slope_products = arena.take<T>(2 * BLOCK * MF * 3 * C);
            s.slope_features = arena.take<T>(2 * BLOCK * MF * C);
            s.by_emitted = arena.take<T>(2 * BLOCK * MF * C);
            s.expanded = arena.take<T>(widest * ER);
            s.expanded_d = arena.take<T>(widest * ER);
            s.table = arena.take<T>(widest * degrees * C);
            s.table_d = arena.take<T>(widest * degrees * C);
            s.message = arena.take<T>(widest * C);
            s.message_d = arena.take<T>(widest * C);
            s.shown = arena.take<T>(widest * degrees * C);
            s.shown_d = arena.take<T>(widest * degrees * C);
            s.thread = k;
        }
    }

    T* density_at(Int t, Int start) const { return kept_density + (t * in.atoms + start) * 2 * M * widest_row; }
    T* factors_at(Int t, Int start) const { return kept_factors + (t * in.atoms + start) * 2 * M * 3 * C; }
    T* products_at(Int t, Int start) const { return kept_products + (t * in.atoms + start) * 2 * MF * 2 * C; }
    T* hidden_at(Int t, Int start) const { return kept_hidden + (t * in.atoms + start) * 2 * 2 * H; }
    T* features_at(Int t, Int start) const { return kept_features + (t * in.atoms + start) * 2 * MF * C; }
    T* mine(T* gradient, const Scratch& s) const { return gradient + s.thread * own.stride; }

    // C (M, N) += A^T B over rows; A has ld columns a row.
    static void add(Int rows, Int M, Int N, const T* A, Int lda, const T* B, Int ldb, T* C, Int ldc) {
        product<T, true>(M, N, rows, A, 1, lda, B, ldb, C, ldc);
    }

    // -- basis ----------------------------------------------------------------------------------------

    void changes(Int begin, Int end) {
        T u[3], du[3], y[DEGREES * DEGREES];
        for (Int s = begin; s < end; ++s) {
            const T* w = own.by_slopes + 3 * bond[s];
            T along = 0;
            for (Int a = 0; a < 3; ++a) u[a] = direction[3 * s + a], along += u[a] * w[a];
            for (Int a = 0; a < 3; ++a) du[a] = (w[a] - u[a] * along) * inverse[s];
            for (Int n = 0; n < RP; ++n) radial_d[s * RP + n] = derivative[s * RP + n] * along;
            const T* values = harmonics + s * MP;
            for (Int m = 0; m < M; ++m) y[m] = 0;
            for (const Coupling* c = in.steps; c < in.steps + in.shape->steps; ++c)
                y[c->m] += static_cast<T>(c->value) * (du[c->axis] * values[c->lower] + u[c->axis] * y[c->lower]);
            for (Int m = 0; m < MP; ++m) harmonics_d[s * MP + m] = m < M ? y[m] : T(0);
        }
    }

    // -- on bonds -------------------------------------------------------------------------------------

    // Radial functions (or their changes) of an atom's bonds, told apart by the neighbours' species.
    const T* by_species(Int i, const T* table, T* expanded) const {
        const Int begin = first[i], k = bonds_of(i);
        if (in.shape->elements == 1) return table + begin * RP;
        std::memset(expanded, 0, sizeof(T) * k * ER);
        for (Int j = 0; j < k; ++j) {
            const Int column = in.species[in.neighbour[bond[begin + j]]] * RP;
            std::memcpy(expanded + j * ER + column, table + (begin + j) * RP, sizeof(T) * RP);
        }
        return expanded;
    }

    // What the bonds of an atom show: their tables and messages.
    void messages_of(Int t, Int i, Scratch& s) const {
        const Int begin = first[i], k = bonds_of(i), wide = degrees * C, from = (t - 1) * near;
        const T* weight = in.weights[t].radial;
        product<T, false>(k, wide, R, radial + begin * RP, RP, 1, weight, wide, s.table, wide);
        product<T, false>(k, wide, R, radial_d + begin * RP, RP, 1, weight, wide, s.table_d, wide);
        for (Int j = 0; j < k; ++j) {
            const Int row = (from + opposite[begin + j]) * C;
            std::memcpy(s.message + j * C, sent + row, sizeof(T) * C);
            std::memcpy(s.message_d + j * C, sent_d + row, sizeof(T) * C);
        }
    }

    void density_of(Int t, Int start, Int nb, Int a, Scratch& s, T* density) const {
        const Int i = start + a, k = bonds_of(i), rows = 2 * nb, wide = degrees * C;
        const T *y = harmonics + first[i] * MP, *dy = harmonics_d + first[i] * MP;
        if (!t) {
            const T *x = by_species(i, radial, s.expanded), *dx = by_species(i, radial_d, s.expanded_d);
            T *to = density + a * ER, *change = density + (nb + a) * ER;
            product<T, false>(M, ER, k, y, 1, MP, x, ER, to, rows * ER);
            product<T, false>(M, ER, k, dy, 1, MP, x, ER, change, rows * ER);
            product<T, true>(M, ER, k, y, 1, MP, dx, ER, change, rows * ER);
            return;
        }
        messages_of(t, i, s);
        for (Int j = 0; j < k; ++j)
            for (Int c = 0; c < C; c += W<T>) {
                const Dual<T> message = dual(s.message + j * C + c, s.message_d + j * C + c);
                for (Int x = j * wide + c; x < (j + 1) * wide; x += C) {
                    const Dual<T> shown = dual(s.table + x, s.table_d + x) * message;
                    store(s.shown + x, shown.v);
                    store(s.shown_d + x, shown.d);
                }
            }
        for (Int l = 0; l < degrees; ++l) {
            const Int m = l * l, width = 2 * l + 1;
            T *to = density + (m * rows + a) * C, *change = to + nb * C;
            product<T, false>(width, C, k, y + m, 1, MP, s.shown + l * C, wide, to, rows * C);
            product<T, false>(width, C, k, dy + m, 1, MP, s.shown + l * C, wide, change, rows * C);
            product<T, true>(width, C, k, y + m, 1, MP, s.shown_d + l * C, wide, change, rows * C);
        }
    }

    // Slopes by messages and by the radial table, from those by the density.
    void density_back(Int t, Int start, Int nb, Int a, Scratch& s) {
        const Int i = start + a, begin = first[i], k = bonds_of(i), rows = 2 * nb, wide = degrees * C;
        const T *y = harmonics + begin * MP, *dy = harmonics_d + begin * MP;
        messages_of(t, i, s);
        for (Int l = 0; l < degrees; ++l) {
            const Int m = l * l, width = 2 * l + 1;
            const T *change = s.slope_density + (m * rows + a) * C, *slope = change + nb * C;
            product<T, false>(k, C, width, y + m, MP, 1, slope, rows * C, s.shown + l * C, wide);
            product<T, false>(k, C, width, dy + m, MP, 1, slope, rows * C, s.shown_d + l * C, wide);
            product<T, true>(k, C, width, y + m, MP, 1, change, rows * C, s.shown_d + l * C, wide);
        }
        T *to = received + ((t - 1) * near + begin) * C, *to_d = received_d + ((t - 1) * near + begin) * C;
        for (Int j = 0; j < k; ++j)
            for (Int c = 0; c < C; c += W<T>) {
                const Dual<T> message = dual(s.message + j * C + c, s.message_d + j * C + c);
                Dual<T> sum{};
                for (Int x = j * wide + c; x < (j + 1) * wide; x += C) {
                    const Dual<T> slope = dual(s.shown + x, s.shown_d + x);
                    sum = sum + dual(s.table + x, s.table_d + x) * slope;
                    const Dual<T> by_table = slope * message;
                    store(s.shown + x, by_table.v);
                    store(s.shown_d + x, by_table.d);
                }
                store(to + j * C + c, sum.v);
                store(to_d + j * C + c, sum.d);
            }
        T* gradient = mine(own.gradients[t].radial, s);
        add(k, R, wide, radial + begin * RP, RP, s.shown_d, wide, gradient, wide);
        add(k, R, wide, radial_d + begin * RP, RP, s.shown, wide, gradient, wide);
    }

    // -- products on the sphere, a tile of channels at a time -----------------------------------------

    template <int NV> void tile_fields(const Weights<T>& w, Int nb, Int a, Int c, const T* factors, Scratch& s) {
        const Int at = (a * C + c) * *w.points * 6, ld = 2 * nb * 3 * C;
        this->template fields_of<NV>(w, factors + a * 3 * C + c, ld, s.fields + at);
        this->template fields_of<NV>(w, factors + (nb + a) * 3 * C + c, ld, s.fields_d + at);
    }

    template <int NV> void tile_forward(Int t, Int nb, Int a, Int c, const T* factors, T* products, Scratch& s) {
        constexpr Int tile = NV * W<T>;
        constexpr int MR = NV == 2 ? 6 : 12;
        const Weights<T>& w = in.weights[t];
        const Int q = *w.points, lo = degree_out(t), even = parity_rows(lo, 0), odd = parity_rows(lo, 1);
        const Int ld = 2 * nb * 2 * C;
        tile_fields<NV>(w, nb, a, c, factors, s);
        const T *fields = s.fields + (a * C + c) * q * 6, *fields_d = s.fields_d + (a * C + c) * q * 6;
        for (Int p = 0; p < q; ++p)
            for (Int v = 0; v < tile; v += W<T>) {
                Dual<T> x[6], y[4];
                for (Int k = 0; k < 6; ++k) x[k] = dual(fields + (p * 6 + k) * tile + v, fields_d + (p * 6 + k) * tile + v);
                Base::multiply(x[0], x[1], x[2], x[3], x[4], x[5], y[0], y[1], y[2], y[3]);
                for (Int k = 0; k < 4; ++k) {
                    store(s.products + (p * 4 + k) * tile + v, y[k].v);
                    store(s.products_d + (p * 4 + k) * tile + v, y[k].d);
                }
            }
        for (Int change = 0; change < 2; ++change)
            for (Int part = 0; part < 2; ++part) {
                const T* x = (change ? s.products_d : s.products) + part * tile;
                T* y = products + (change * nb + a) * 2 * C + part * C + c;
                panel<T, MR, NV, false>(even, q, w.project_even, q, 1, x, 4 * tile, y, ld);
                panel<T, MR, NV, false>(odd, q, w.project_odd, q, 1, x + 2 * tile, 4 * tile, y + even * ld, ld);
            }
    }

    template <int NV> void tile_backward(Int t, Int nb, Int a, Int c, Scratch& s) {
        constexpr Int tile = NV * W<T>;
        constexpr int MR = NV == 2 ? 6 : 12;
        const Weights<T>& w = in.weights[t];
        const Int q = *w.points, lo = degree_out(t), even_out = parity_rows(lo, 0), odd_out = parity_rows(lo, 1);
        const Int even = parity_rows(L, 0), odd = M - even, ld = 2 * nb * 3 * C;
        T *fields = s.fields + (a * C + c) * q * 6, *fields_d = s.fields_d + (a * C + c) * q * 6;
        for (Int change = 0; change < 2; ++change)
            for (Int part = 0; part < 2; ++part) {
                const T* x = s.slope_products + (change ? a : nb + a) * 3 * C + (part + 1) * C + c;
                T* y = (change ? s.products_d : s.products) + part * tile;
                panel<T, MR, NV, false>(q, even_out, w.project_even, 1, q, x, ld, y, 4 * tile);
                panel<T, MR, NV, false>(q, odd_out, w.project_odd, 1, q, x + even_out * ld, ld, y + 2 * tile,
                                        4 * tile);
            }
        for (Int p = 0; p < q; ++p)
            for (Int v = 0; v < tile; v += W<T>) {
                Dual<T> x[6], y[4];
                for (Int k = 0; k < 6; ++k) x[k] = dual(fields + (p * 6 + k) * tile + v, fields_d + (p * 6 + k) * tile + v);
                for (Int k = 0; k < 4; ++k)
                    y[k] = dual(s.products + (p * 4 + k) * tile + v, s.products_d + (p * 4 + k) * tile + v);
                Base::multiply_back(x[0], x[1], x[2], x[3], x[4], x[5], y[0], y[1], y[2], y[3]);
                for (Int k = 0; k < 6; ++k) {
                    store(fields + (p * 6 + k) * tile + v, x[k].v);
                    store(fields_d + (p * 6 + k) * tile + v, x[k].d);
                }
            }
        for (Int change = 0; change < 2; ++change)
            for (Int part = 0; part < 3; ++part) {
                const T* x = (change ? fields_d : fields) + 2 * part * tile;
                T* y = s.slope_factors + (change ? a : nb + a) * 3 * C + part * C + c;
                panel<T, MR, NV, false>(even, q, w.even, 1, even, x, 6 * tile, y, ld);
                panel<T, MR, NV, false>(odd, q, w.odd, 1, odd, x + tile, 6 * tile, y + even * ld, ld);
            }
    }

    // -- blocks of atoms --------------------------------------------------------------------------------

    // Multiply rows of factors, or of slopes by them, by what belongs to the species of the centre.
    void by_centre(const Weights<T>& w, Int start, Int nb, T* table) const {
        if (!w.centre) return;
        for (Int row = 0; row < M * 2 * nb; ++row) {
            const T* factor = w.centre + in.species[start + row % nb] * 3 * C;
            T* x = table + row * 3 * C;
            for (Int c = 0; c < 3 * C; c += W<T>) store(x + c, load(x + c) * load(factor + c));
        }
    }

    // Factors before they are multiplied by what belongs to the centre.
    void mixed(Int t, Int nb, const T* density, T* factors) const {
        const Int width = t ? C : ER, rows = 2 * nb;
        const T* mix = t ? in.weights[t].factors : in.weights[t].density;
        for (Int l = 0; l < degrees; ++l)
            product<T, false>((2 * l + 1) * rows, 3 * C, width, density + l * l * rows * width, width, 1,
                              mix + l * width * 3 * C, 3 * C, factors + split_row(l, L) * rows * 3 * C, 3 * C);
    }

    // hidden (values, then changes) to its SiLU, the same way; rows of hidden have two halves.
    void activate(const T* hidden, Int nb, T* active) const {
        for (Int a = 0; a < nb; ++a)
            for (Int h = 0; h < H; ++h) {
                const T x = hidden[a * 2 * H + h];
                active[a * H + h] = x * logistic(x);
                active[(nb + a) * H + h] = silu_slope(x) * hidden[(nb + a) * 2 * H + h];
            }
    }

    // From slopes by SiLU (changes, then values) to those by what it was taken of, in place.
    void activate_back(const T* hidden, Int nb, T* slopes, Int ld) const {
        for (Int a = 0; a < nb; ++a)
            for (Int h = 0; h < H; ++h) {
                const T x = hidden[a * 2 * H + h], change = hidden[(nb + a) * 2 * H + h], y = logistic(x);
                const T rise = y * (T(1) - y), slope = y + x * rise;
                const T curvature = rise * (T(2) + x * (T(1) - T(2) * y));
                T &d = slopes[a * ld + h], &v = slopes[(nb + a) * ld + h];
                d = d * slope + v * curvature * change;
                v = v * slope;
            }
    }

    void forward(Int t, Int start, Int nb, Scratch& s) {
        const Weights<T>& w = in.weights[t];
        const Int lo = degree_out(t), rows = 2 * nb, wide = H + C, last = H + W<T>;
        T *density = density_at(t, start), *factors = factors_at(t, start), *products = products_at(t, start);
        T *hidden = hidden_at(t, start), *kept = features_at(t, start);
        for (Int a = 0; a < nb; ++a) density_of(t, start, nb, a, s, density);
        mixed(t, nb, density, factors);
        by_centre(w, start, nb, factors);
        for (Int a = 0; a < nb; ++a) {
            Int c = 0;
            for (; c + 2 * W<T> <= C; c += 2 * W<T>) tile_forward<2>(t, nb, a, c, factors, products, s);
            if (c < C) tile_forward<1>(t, nb, a, c, factors, products, s);
        }
        product<T, false>(rows, wide, C, factors, 3 * C, 1, w.scalars, wide, s.first, wide);
        product<T, true>(rows, wide, 2 * C, products, 2 * C, 1, w.scalars + C * wide, wide, s.first, wide);
        for (Int a = 0; a < rows; ++a) {
            std::memcpy(hidden + a * 2 * H, s.first + a * wide, sizeof(T) * H);
            std::memcpy(kept + a * C, s.first + a * wide + H, sizeof(T) * C);
        }
        activate(hidden, nb, s.active);
        product<T, true>(rows, C, H, s.active, H, 1, w.outer, C, kept, C);
        product<T, false>(rows, last, C, kept, C, 1, w.readout, last, s.last, last);
        for (Int a = 0; a < rows; ++a) std::memcpy(hidden + a * 2 * H + H, s.last + a * last, sizeof(T) * H);
        if (t + 1 == layers) return;
        for (Int l = 1; l <= lo; ++l) {
            const T* weight = w.update + (l - 1) * 3 * C * C;
            T* to = kept + l * l * rows * C;
            product<T, false>((2 * l + 1) * rows, C, C, factors + split_row(l, L) * rows * 3 * C, 3 * C, 1, weight, C,
                              to, C);
            product<T, true>((2 * l + 1) * rows, C, 2 * C, products + split_row(l, lo) * rows * 2 * C, 2 * C, 1,
                             weight + C * C, C, to, C);
        }
        T* emitted = s.by_emitted;
        for (Int l = 0; l <= lo; ++l)
            product<T, false>((2 * l + 1) * rows, C, C, kept + l * l * rows * C, C, 1,
                              in.weights[t + 1].emit + l * C * C, C, emitted + l * l * rows * C, C);
        for (Int a = 0; a < nb; ++a) {
            const Int begin = first[start + a], k = bonds_of(start + a), at = (t * near + begin) * C;
            const T *y = harmonics + begin * MP, *dy = harmonics_d + begin * MP;
            const T *value = emitted + a * C, *change = emitted + (nb + a) * C;
            product<T, false>(k, C, MF, y, MP, 1, value, rows * C, sent + at, C);
            product<T, false>(k, C, MF, dy, MP, 1, value, rows * C, sent_d + at, C);
            product<T, true>(k, C, MF, y, MP, 1, change, rows * C, sent_d + at, C);
        }
    }

    // Slopes by the features of a layer, from what its messages' receivers found.
    void features_back(Int t, Int start, Int nb, Scratch& s) {
        const Int rows = 2 * nb;
        for (Int a = 0; a < nb; ++a) {
            const Int begin = first[start + a], k = bonds_of(start + a);
            for (Int j = 0; j < k; ++j) {
                const Int row = (t * near + opposite[begin + j]) * C;
                std::memcpy(s.message + j * C, received + row, sizeof(T) * C);
                std::memcpy(s.message_d + j * C, received_d + row, sizeof(T) * C);
            }
            const T *y = harmonics + begin * MP, *dy = harmonics_d + begin * MP;
            T *change = s.by_emitted + a * C, *value = change + nb * C;
            product<T, false>(MF, C, k, y, 1, MP, s.message, C, value, rows * C);
            product<T, false>(MF, C, k, dy, 1, MP, s.message, C, change, rows * C);
            product<T, true>(MF, C, k, y, 1, MP, s.message_d, C, change, rows * C);
        }
        const T* kept = features_at(t, start);
        T* gradient = mine(own.gradients[t + 1].emit, s);
        for (Int l = 0; l <= features; ++l) {
            const Int count = (2 * l + 1) * rows, at = l * l * rows * C;
            add(count, C, C, kept + at, C, s.by_emitted + at, C, gradient + l * C * C, C);
            product<T, false>(count, C, C, s.by_emitted + at, C, 1, in.weights[t + 1].emit_back + l * C * C, C,
                              s.slope_features + at, C);
        }
    }

    // The fields of the last layer are still there from its way forward.
    void backward(Int t, Int start, Int nb, Scratch& s) {
        const Weights<T>& w = in.weights[t];
        const Gradients<T>& g = own.gradients[t];
        const Int lo = degree_out(t), rows = 2 * nb, wide = H + C, last = H + W<T>;
        const T *density = density_at(t, start), *factors = factors_at(t, start), *products = products_at(t, start);
        const T *hidden = hidden_at(t, start), *kept = features_at(t, start);
        activate(hidden + H, nb, s.active);
        T* outer = mine(g.readout_outer, s);
        for (Int a = 0; a < rows; ++a) {
            const Int i = start + a % nb;
            const T seed = scale * (a < nb ? own.by_energies[i] : own.seeds[i]);
            T* x = s.last + a * last;
            for (Int h = 0; h < H; ++h) {
                x[h] = w.readout_outer[h] * seed;
                outer[h] += s.active[a * H + h] * seed;
            }
            x[H] = seed;
            for (Int h = H + 1; h < last; ++h) x[h] = 0;
        }
        activate_back(hidden + H, nb, s.last, last);
        add(rows, C, last, kept, C, s.last, last, mine(g.readout, s), last);
        T* scalars = s.first + H;
        product<T, false>(rows, C, H + 1, s.last, last, 1, w.readout_back, C, scalars, wide);
        if (t + 1 < layers)
            for (Int a = 0; a < rows; ++a)
                for (Int c = 0; c < C; ++c) scalars[a * wide + c] += s.slope_features[a * C + c];
        activate(hidden, nb, s.active);
        add(rows, H, C, s.active, H, scalars, wide, mine(g.outer, s), C);
        product<T, false>(rows, H, C, scalars, wide, 1, w.outer_back, H, s.first, wide);
        activate_back(hidden, nb, s.first, wide);
        T* gradient = mine(g.scalars, s);
        add(rows, C, wide, factors, 3 * C, s.first, wide, gradient, wide);
        add(rows, 2 * C, wide, products, 2 * C, s.first, wide, gradient + C * wide, wide);
        product<T, false>(rows, 3 * C, wide, s.first, wide, 1, w.scalars_back, 3 * C, s.slope_products, 3 * C);
        for (Int l = 1; l <= lo; ++l) {
            const Int count = (2 * l + 1) * rows, at = split_row(l, lo) * rows;
            const T* slope = s.slope_features + l * l * rows * C;
            gradient = mine(g.update, s) + (l - 1) * 3 * C * C;
            add(count, C, C, factors + split_row(l, L) * rows * 3 * C, 3 * C, slope, C, gradient, C);
            add(count, 2 * C, C, products + at * 2 * C, 2 * C, slope, C, gradient + C * C, C);
            product<T, false>(count, 3 * C, C, slope, C, 1, w.update_back + (l - 1) * 3 * C * C, 3 * C,
                              s.slope_products + at * 3 * C, 3 * C);
        }
        for (Int a = 0; a < nb; ++a) {
            Int c = 0;
            for (; c + 2 * W<T> <= C; c += 2 * W<T>) {
                if (t + 1 < layers) tile_fields<2>(w, nb, a, c, factors, s);
                tile_backward<2>(t, nb, a, c, s);
            }
            if (c < C) {
                if (t + 1 < layers) tile_fields<1>(w, nb, a, c, factors, s);
                tile_backward<1>(t, nb, a, c, s);
            }
        }
        for (Int l = 0; l <= lo; ++l)
            for (Int row = 0; row < (2 * l + 1) * rows; ++row) {
                T* x = s.slope_factors + (split_row(l, L) * rows + row) * 3 * C;
                const T* y = s.slope_products + (split_row(l, lo) * rows + row) * 3 * C;
                for (Int c = 0; c < C; c += W<T>) store(x + c, load(x + c) + load(y + c));
            }
        if (w.centre) {
            mixed(t, nb, density, s.plain);
            for (Int row = 0; row < M * rows; ++row) {
                T* to = mine(g.centre, s) + in.species[start + row % nb] * 3 * C;
                for (Int c = 0; c < 3 * C; c += W<T>)
                    store(to + c, load(to + c) + load(s.plain + row * 3 * C + c) * load(s.slope_factors + row * 3 * C + c));
            }
            by_centre(w, start, nb, s.slope_factors);
        }
        const Int width = t ? C : ER;
        gradient = mine(t ? g.factors : g.density, s);
        for (Int l = 0; l < degrees; ++l) {
            const Int count = (2 * l + 1) * rows;
            const T* slope = s.slope_factors + split_row(l, L) * rows * 3 * C;
            add(count, width, 3 * C, density + l * l * rows * width, width, slope, 3 * C, gradient + l * width * 3 * C,
                3 * C);
            if (t)
                product<T, false>(count, width, 3 * C, slope, 3 * C, 1, w.factors_back + l * width * 3 * C, width,
                                  s.slope_density + l * l * rows * width, width);
        }
        if (t)
            for (Int a = 0; a < nb; ++a) density_back(t, start, nb, a, s);
    }

    // -- passes -----------------------------------------------------------------------------------------

    // In a fixed order: the sums of a thread are the same every time.
    template <class Function> void blocks(Function function) {
        const Int count = (in.atoms + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) num_threads(static_cast<int>(threads)) if (threads > 1)
        for (Int b = 0; b < count; ++b) {
            Int thread = 0;
#ifdef _OPENMP
            if (threads > 1) thread = omp_get_thread_num();
#endif
            function(b * BLOCK, std::min(BLOCK, in.atoms - b * BLOCK), scratch[thread]);
        }
    }

    void run() {
        const Int last = layers - 1;
        for (Int t = 0; t < layers; ++t)
            blocks([&](Int start, Int nb, Scratch& s) {
                if (!t) {
                    this->geometry(first[start], first[start + nb]);
                    changes(first[start], first[start + nb]);
                }
                forward(t, start, nb, s);
                if (t == last) backward(t, start, nb, s);
            });
        for (Int t = last - 1; t >= 0; --t)
            blocks([&](Int start, Int nb, Scratch& s) {
                features_back(t, start, nb, s);
                backward(t, start, nb, s);
            });
    }
};

}  // namespace

// 0 when done, otherwise how many bytes of memory (aligned to 64) it takes to get further.
extern "C" std::int64_t mlpot_train_float(const void* arguments, char* memory, std::int64_t size) {
    return compute<Training<float>>(*static_cast<const Arguments<float>*>(arguments), memory, size);
}
extern "C" std::int64_t mlpot_train_double(const void* arguments, char* memory, std::int64_t size) {
    return compute<Training<double>>(*static_cast<const Arguments<double>*>(arguments), memory, size);
}
