// Energies and slopes of a density network on a CPU: the mathematics of kernels.py and inference.py.
//
// Plain C interface at the end of the file; native.py compiles it, packs the weights and calls it.

#include "native_common.h"

namespace {

template <class T> struct Arguments {
    Input<T> input;
    const T* seeds;
    T *energies, *slopes;
};

template <class T> struct Evaluation : Network<T> {
    using Base = Network<T>;
    using Base::in, Base::C, Base::L, Base::M, Base::MF, Base::R, Base::RP, Base::ER, Base::H, Base::MP, Base::MS;
    using Base::degrees, Base::features, Base::layers, Base::near, Base::widest, Base::threads, Base::scale;
    using Base::first, Base::bond, Base::opposite, Base::direction, Base::inverse, Base::harmonics;
    using Base::radial, Base::derivative, Base::bonds_of, Base::degree_out, Base::split_row;
    using Base::parity_rows, Base::logistic, Base::silu_slope, Base::turn;

    Arguments<T> out;
    T *by_harmonics, *by_radial;
    // Of every layer but the last: factors, hidden values, what is emitted, sent and received.
    T *kept_factors, *kept_hidden, *kept_emitted, *sent, *received;

    struct Scratch {
        T *density, *factors, *hidden, *fields, *products, *coefficients, *first, *active, *features, *last;
        T *slope_factors, *slope_products, *slope_features, *messages, *table, *shown, *slope_shown, *turned;
        T *expanded, *slope_expanded;
    };
    Scratch scratch[256];

    explicit Evaluation(const Arguments<T>& arguments) : Network<T>(arguments.input), out(arguments) {}

    void lay_out_rest(Arena& arena) {
        const Int between = layers - 1;
        this->lay_out_basis(arena);
        by_harmonics = arena.take<T>(near * MS);
        by_radial = arena.take<T>(near * RP);
        kept_factors = arena.take<T>(between * in.atoms * M * 3 * C);
        kept_hidden = arena.take<T>(between * in.atoms * 2 * H);
        kept_emitted = arena.take<T>(between * in.atoms * MF * C);
        sent = arena.take<T>(between * near * C);
        received = arena.take<T>(between * near * C);
        const Int points = this->most_points();
        const Int rows = BLOCK * M, most = std::max(3 * C, ER), slots = BLOCK * widest;
        for (Int k = 0; k < threads; ++k) {
            Scratch& s = scratch[k];
            s.density = arena.take<T>(rows * most);
            s.factors = arena.take<T>(rows * 3 * C);
            s.hidden = arena.take<T>(BLOCK * 2 * H);
            s.fields = arena.take<T>(BLOCK * points * 6 * C);
            s.products = arena.take<T>(points * 12 * 2 * W<T>);
            s.coefficients = arena.take<T>(rows * 2 * C);
            s.first = arena.take<T>(BLOCK * (H + C));
            s.active = arena.take<T>(BLOCK * H);
            s.features = arena.take<T>(BLOCK * MF * C);
            s.last = arena.take<T>(BLOCK * (H + W<T>));
            s.slope_factors = arena.take<T>(rows * 3 * C);
            s.slope_products = arena.take<T>(rows * 3 * C);
            s.slope_features = arena.take<T>(BLOCK * MF * C);
            s.messages = arena.take<T>(slots * C);
            s.table = arena.take<T>(slots * degrees * C);
            s.shown = arena.take<T>(slots * degrees * C);
            s.slope_shown = arena.take<T>(widest * degrees * C);
            s.turned = arena.take<T>(std::max(C, ER) * MS);
            s.expanded = arena.take<T>(widest * ER);
            s.slope_expanded = arena.take<T>(widest * ER);
        }
    }

    void basis(Int begin, Int end) {
        this->geometry(begin, end);
        std::memset(by_harmonics + begin * MS, 0, sizeof(T) * (end - begin) * MS);
        std::memset(by_radial + begin * RP, 0, sizeof(T) * (end - begin) * RP);
    }

    void bond_slopes(Int begin, Int end) {
        constexpr Int w = W<T>;
        typedef Vec<T> V;
        V y[DEGREES * DEGREES], slope[DEGREES * DEGREES];
        for (Int s = begin; s < end; s += w) {
            const Int n = std::min(w, end - s);
            V along = {}, across[3] = {}, r[3], over = {};
            for (Int k = 0; k < w; ++k) {
                const Int row = s + std::min(k, n - 1);
                for (Int m = 0; m < M; ++m) {
                    y[m][k] = harmonics[row * MP + m];
                    slope[m][k] = by_harmonics[row * MS + m];
                }
                T sum = 0;
                for (Int j = 0; j < R; ++j) sum += by_radial[row * RP + j] * derivative[row * RP + j];
                along[k] = sum;
                for (Int a = 0; a < 3; ++a) r[a][k] = direction[3 * row + a];
                over[k] = inverse[row];
            }
            for (const Coupling* c = in.gradients; c < in.gradients + in.shape->gradients; ++c)
                across[c->axis] += static_cast<T>(c->value) * slope[c->m] * y[c->lower];
            for (Int a = 0; a < 3; ++a) across[a] *= over;
            for (Int a = 0; a < 3; ++a) along -= across[a] * r[a];
            for (Int a = 0; a < 3; ++a) {
                const V value = across[a] + along * r[a];
                for (Int k = 0; k < n; ++k) out.slopes[3 * bond[s + k] + a] = value[k];
            }
        }
    }

    template <int NV> void tile_forward(Int t, const Weights<T>& w, const T* factors, Int ld, T* fields,
                                        T* products, T* coefficients, Int ldc) const {
        constexpr Int tile = NV * W<T>;
        const Int q = *w.points, lo = degree_out(t), even = parity_rows(lo, 0), odd = parity_rows(lo, 1);
        this->template fields_of<NV>(w, factors, ld, fields);
        for (Int p = 0; p < q; ++p)
            for (Int v = 0; v < tile; v += W<T>) {
                const T* f = fields + p * 6 * tile + v;
                T* to = products + p * 4 * tile + v;
                Vec<T> pair_e, triple_e, pair_o, triple_o;
                Base::multiply(load(f), load(f + tile), load(f + 2 * tile), load(f + 3 * tile),
                               load(f + 4 * tile), load(f + 5 * tile), pair_e, triple_e, pair_o, triple_o);
                store(to, pair_e);
                store(to + tile, triple_e);
                store(to + 2 * tile, pair_o);
                store(to + 3 * tile, triple_o);
            }
        constexpr int MR = NV == 2 ? 6 : 12;
        for (Int part = 0; part < 2; ++part) {
            const T* x = products + part * tile;
            T* y = coefficients + part * C;
            panel<T, MR, NV, false>(even, q, w.project_even, q, 1, x, 4 * tile, y, ldc);
            panel<T, MR, NV, false>(odd, q, w.project_odd, q, 1, x + 2 * tile, 4 * tile, y + even * ldc, ldc);
        }
    }

    // slope (rows of 3C: factors, pairs, triples) holds the slopes by the products.
    template <int NV> void tile_backward(Int t, const Weights<T>& w, T* fields, T* products, const T* slope,
                                         Int lds, T* out, Int ld) const {
        constexpr Int tile = NV * W<T>;
        constexpr int MR = NV == 2 ? 6 : 12;
        const Int q = *w.points, lo = degree_out(t), even_out = parity_rows(lo, 0),
                  odd_out = parity_rows(lo, 1);
        for (Int part = 0; part < 2; ++part) {
            const T* x = slope + (part + 1) * C;
            T* y = products + part * tile;
            panel<T, MR, NV, false>(q, even_out, w.project_even, 1, q, x, lds, y, 4 * tile);
            panel<T, MR, NV, false>(q, odd_out, w.project_odd, 1, q, x + even_out * lds, lds, y + 2 * tile,
                                    4 * tile);
        }
        for (Int p = 0; p < q; ++p)
            for (Int v = 0; v < tile; v += W<T>) {
                T* f = fields + p * 6 * tile + v;
                const T* s = products + p * 4 * tile + v;
                Vec<T> x[6];
                for (int k = 0; k < 6; ++k) x[k] = load(f + k * tile);
                Base::multiply_back(x[0], x[1], x[2], x[3], x[4], x[5], load(s), load(s + tile),
                                    load(s + 2 * tile), load(s + 3 * tile));
                for (int k = 0; k < 6; ++k) store(f + k * tile, x[k]);
            }
        const Int even = parity_rows(L, 0), odd = M - even;
        for (Int part = 0; part < 3; ++part) {
            panel<T, MR, NV, false>(even, q, w.even, 1, even, fields + 2 * part * tile, 6 * tile,
                                    out + part * C, ld);
            panel<T, MR, NV, false>(odd, q, w.odd, 1, odd, fields + (2 * part + 1) * tile, 6 * tile,
                                    out + part * C + even * ld, ld);
        }
    }

    // -- blocks of atoms --------------------------------------------------------------------------

    static void silu(const T* x, T* y, Int count) {
        for (Int k = 0; k < count; ++k) y[k] = x[k] * logistic(x[k]);
    }
    // Where the bonds of a block's atom begin in the block's tables.
    Int within(Int start, Int a) const { return first[start + a] - first[start]; }

    // Radial functions of an atom's bonds, told apart by the neighbours' species.
    const T* radial_by_species(Int i, Scratch& s) const {
        const Int begin = first[i], k = bonds_of(i);
        if (in.shape->elements == 1) return radial + begin * RP;
        std::memset(s.expanded, 0, sizeof(T) * k * ER);
        for (Int j = 0; j < k; ++j) {
            const Int column = in.species[in.neighbour[bond[begin + j]]] * RP;
            std::memcpy(s.expanded + j * ER + column, radial + (begin + j) * RP, sizeof(T) * RP);
        }
        return s.expanded;
    }

    void by_centre(const Weights<T>& w, Int start, Int nb, T* table) const {
        if (!w.centre) return;
        for (Int m = 0; m < M; ++m)
            for (Int a = 0; a < nb; ++a) {
                const T* row = w.centre + in.species[start + a] * 3 * C;
                T* x = table + (m * nb + a) * 3 * C;
                for (Int c = 0; c < 3 * C; c += W<T>) store(x + c, load(x + c) * load(row + c));
            }
    }

    void messages_of(Int t, Int start, Int nb, Scratch& s) const {
        const Weights<T>& w = in.weights[t];
        const T* source = sent + (t - 1) * near * C;
        for (Int a = 0; a < nb; ++a) {
            const Int i = start + a, begin = first[i], k = bonds_of(i), at = within(start, a);
            T *table = s.table + at * degrees * C, *shown = s.shown + at * degrees * C;
            product<T, false>(k, degrees * C, R, radial + begin * RP, RP, 1, w.radial, degrees * C, table,
                              degrees * C);
            for (Int j = 0; j < k; ++j) {
                const T* row = source + opposite[begin + j] * C;
                T* message = s.messages + (at + j) * C;
                for (Int c = 0; c < C; c += W<T>) {
                    const Vec<T> value = load(row + c);
                    store(message + c, value);
                    for (Int x = j * degrees * C + c; x < (j + 1) * degrees * C; x += C)
                        store(shown + x, load(table + x) * value);
                }
            }
        }
    }

    // Factors, energies, hidden values; features and what is sent, if there is a next layer.
    void forward(Int t, Int start, Int nb, Scratch& s, T* factors, T* hidden) {
        const Weights<T>& w = in.weights[t];
        const Int width = t ? C : ER, lo = degree_out(t);
        if (t) messages_of(t, start, nb, s);
        for (Int a = 0; a < nb; ++a) {
            const Int i = start + a, k = bonds_of(i);
            const T* y = harmonics + first[i] * MP;
            if (!t) {
                product<T, false>(M, ER, k, y, 1, MP, radial_by_species(i, s), ER, s.density + a * ER,
                                  nb * ER);
            } else {
                const T* shown = s.shown + within(start, a) * degrees * C;
                for (Int l = 0; l < degrees; ++l)
                    product<T, false>(2 * l + 1, C, k, y + l * l, 1, MP, shown + l * C, degrees * C,
                                      s.density + (l * l * nb + a) * C, nb * C);
            }
        }
        const T* mix = t ? w.factors : w.density;
        for (Int l = 0; l < degrees; ++l)
            product<T, false>((2 * l + 1) * nb, 3 * C, width, s.density + l * l * nb * width, width, 1,
                              mix + l * width * 3 * C, 3 * C, factors + split_row(l, L) * nb * 3 * C, 3 * C);
        by_centre(w, start, nb, factors);
        const Int q = *w.points;
        for (Int a = 0; a < nb; ++a) {
            T *fields = s.fields + a * q * 6 * C, *to = s.coefficients + a * 2 * C;
            const T* from = factors + a * 3 * C;
            Int c = 0;
            for (; c + 2 * W<T> <= C; c += 2 * W<T>)
                tile_forward<2>(t, w, from + c, nb * 3 * C, fields + c * q * 6, s.products, to + c,
                                nb * 2 * C);
            if (c < C)
                tile_forward<1>(t, w, from + c, nb * 3 * C, fields + c * q * 6, s.products, to + c,
                                nb * 2 * C);
        }
        const Int wide = H + C;
        product<T, false>(nb, wide, C, factors, 3 * C, 1, w.scalars, wide, s.first, wide);
        product<T, true>(nb, wide, 2 * C, s.coefficients, 2 * C, 1, w.scalars + C * wide, wide, s.first,
                         wide);
        for (Int a = 0; a < nb; ++a) {
            std::memcpy(hidden + a * 2 * H, s.first + a * wide, sizeof(T) * H);
            silu(s.first + a * wide, s.active + a * H, H);
            std::memcpy(s.features + a * C, s.first + a * wide + H, sizeof(T) * C);
        }
        product<T, true>(nb, C, H, s.active, H, 1, w.outer, C, s.features, C);
        const Int last = H + W<T>;
        product<T, false>(nb, last, C, s.features, C, 1, w.readout, last, s.last, last);
        for (Int a = 0; a < nb; ++a) {
            const T* x = s.last + a * last;
            std::memcpy(hidden + a * 2 * H + H, x, sizeof(T) * H);
            silu(x, s.active, H);
            T energy = x[H];
            for (Int h = 0; h < H; ++h) energy += s.active[h] * w.readout_outer[h];
            out.energies[start + a] += scale * energy;
        }
        if (t + 1 == layers) return;
        for (Int l = 1; l <= lo; ++l) {
            const T* weight = w.update + (l - 1) * 3 * C * C;
            T* to = s.features + l * l * nb * C;
            const Int rows = (2 * l + 1) * nb;
            product<T, false>(rows, C, C, factors + split_row(l, L) * nb * 3 * C, 3 * C, 1, weight, C, to, C);
            product<T, true>(rows, C, 2 * C, s.coefficients + split_row(l, lo) * nb * 2 * C, 2 * C, 1,
                             weight + C * C, C, to, C);
        }
        T* emitted = kept_emitted + (t * in.atoms + start) * MF * C;
        for (Int l = 0; l <= lo; ++l)
            product<T, false>((2 * l + 1) * nb, C, C, s.features + l * l * nb * C, C, 1,
                              in.weights[t + 1].emit + l * C * C, C, emitted + l * l * nb * C, C);
        for (Int a = 0; a < nb; ++a) {
            const Int begin = first[start + a];
            product<T, false>(bonds_of(start + a), C, MF, harmonics + begin * MP, MP, 1, emitted + a * C,
                              nb * C, sent + (t * near + begin) * C, C);
        }
    }

    // Slopes by the features of a layer, from what its messages' receivers found.
    void features_back(Int t, Int start, Int nb, Scratch& s) {
        const T *emitted = kept_emitted + (t * in.atoms + start) * MF * C, *source = received + t * near * C;
        const Int turned = up(MF, W<T>);
        T* by_emitted = s.features;
        for (Int a = 0; a < nb; ++a) {
            const Int begin = first[start + a], k = bonds_of(start + a);
            for (Int j = 0; j < k; ++j)
                std::memcpy(s.messages + j * C, source + opposite[begin + j] * C, sizeof(T) * C);
            const T* y = harmonics + begin * MP;
            product<T, false>(MF, C, k, y, 1, MP, s.messages, C, by_emitted + a * C, nb * C);
            turn(emitted + a * C, nb * C, MF, C, s.turned, turned);
            product<T, true>(k, turned, C, s.messages, C, 1, s.turned, turned, by_harmonics + begin * MS, MS);
        }
        for (Int l = 0; l <= features; ++l)
            product<T, false>((2 * l + 1) * nb, C, C, by_emitted + l * l * nb * C, C, 1,
                              in.weights[t + 1].emit_back + l * C * C, C, s.slope_features + l * l * nb * C,
                              C);
    }

    // What forward left in the scratch is still there for the last layer (fresh); else made again.
    void backward(Int t, Int start, Int nb, Scratch& s, const T* factors, const T* hidden, bool fresh) {
        const Weights<T>& w = in.weights[t];
        const Int lo = degree_out(t), last = H + W<T>, wide = H + C, q = *w.points;
        for (Int a = 0; a < nb; ++a) {
            const T seed = scale * out.seeds[start + a];
            T* x = s.last + a * last;
            for (Int h = 0; h < H; ++h)
                x[h] = w.readout_outer[h] * seed * silu_slope(hidden[a * 2 * H + H + h]);
            x[H] = seed;
        }
        T* scalars = s.first + H;
        product<T, false>(nb, C, H + 1, s.last, last, 1, w.readout_back, C, scalars, wide);
        if (t + 1 < layers)
            for (Int a = 0; a < nb; ++a)
                for (Int c = 0; c < C; ++c) scalars[a * wide + c] += s.slope_features[a * C + c];
        product<T, false>(nb, H, C, scalars, wide, 1, w.outer_back, H, s.first, wide);
        for (Int a = 0; a < nb; ++a)
            for (Int h = 0; h < H; ++h) s.first[a * wide + h] *= silu_slope(hidden[a * 2 * H + h]);
        product<T, false>(nb, 3 * C, wide, s.first, wide, 1, w.scalars_back, 3 * C, s.slope_products, 3 * C);
        for (Int l = 1; l <= lo; ++l)
            product<T, false>((2 * l + 1) * nb, 3 * C, C, s.slope_features + l * l * nb * C, C, 1,
                              w.update_back + (l - 1) * 3 * C * C, 3 * C,
                              s.slope_products + split_row(l, lo) * nb * 3 * C, 3 * C);
        for (Int a = 0; a < nb; ++a) {
            T *fields = s.fields + a * q * 6 * C, *to = s.slope_factors + a * 3 * C;
            const T *from = factors + a * 3 * C, *slope = s.slope_products + a * 3 * C;
            const Int ld = nb * 3 * C;
            Int c = 0;
            for (; c + 2 * W<T> <= C; c += 2 * W<T>) {
                if (!fresh) this->template fields_of<2>(w, from + c, ld, fields + c * q * 6);
                tile_backward<2>(t, w, fields + c * q * 6, s.products, slope + c, ld, to + c, ld);
            }
            if (c < C) {
                if (!fresh) this->template fields_of<1>(w, from + c, ld, fields + c * q * 6);
                tile_backward<1>(t, w, fields + c * q * 6, s.products, slope + c, ld, to + c, ld);
            }
        }
        for (Int l = 0; l <= lo; ++l)
            for (Int row = 0; row < (2 * l + 1) * nb; ++row) {
                T* x = s.slope_factors + (split_row(l, L) * nb + row) * 3 * C;
                const T* y = s.slope_products + (split_row(l, lo) * nb + row) * 3 * C;
                for (Int c = 0; c < C; c += W<T>) store(x + c, load(x + c) + load(y + c));
            }
        by_centre(w, start, nb, s.slope_factors);
        const Int width = t ? C : ER;
        const T* mix = t ? w.factors_back : w.density_back;
        for (Int l = 0; l < degrees; ++l)
            product<T, false>((2 * l + 1) * nb, width, 3 * C, s.slope_factors + split_row(l, L) * nb * 3 * C,
                              3 * C, 1, mix + l * width * 3 * C, width, s.density + l * l * nb * width,
                              width);
        if (t && !fresh) messages_of(t, start, nb, s);
        for (Int a = 0; a < nb; ++a)
            if (t)
                message_slopes(t, start, nb, a, s);
            else
                species_slopes(start, nb, a, s);
    }

    void species_slopes(Int start, Int nb, Int a, Scratch& s) {
        const Int i = start + a, begin = first[i], k = bonds_of(i);
        const T *slope = s.density + a * ER, *y = harmonics + begin * MP, *shown = radial_by_species(i, s);
        if (in.shape->elements == 1) {
            product<T, true>(k, RP, M, y, MP, 1, slope, nb * ER, by_radial + begin * RP, RP);
        } else {
            product<T, false>(k, ER, M, y, MP, 1, slope, nb * ER, s.slope_expanded, ER);
            for (Int j = 0; j < k; ++j) {
                const T* row = s.slope_expanded + j * ER + in.species[in.neighbour[bond[begin + j]]] * RP;
                for (Int n = 0; n < RP; ++n) by_radial[(begin + j) * RP + n] += row[n];
            }
        }
        turn(slope, nb * ER, M, ER, s.turned, MP);
        product<T, true>(k, MP, ER, shown, ER, 1, s.turned, MP, by_harmonics + begin * MS, MS);
    }

    void message_slopes(Int t, Int start, Int nb, Int a, Scratch& s) {
        const Weights<T>& w = in.weights[t];
        const Int i = start + a, begin = first[i], k = bonds_of(i), at = within(start, a), wide = degrees * C;
        const T *y = harmonics + begin * MP, *shown = s.shown + at * wide, *table = s.table + at * wide;
        for (Int l = 0; l < degrees; ++l) {
            const T* slope = s.density + (l * l * nb + a) * C;
            const Int turned = up(2 * l + 1, W<T>);
            product<T, false>(k, C, 2 * l + 1, y + l * l, MP, 1, slope, nb * C, s.slope_shown + l * C, wide);
            turn(slope, nb * C, 2 * l + 1, C, s.turned, turned);
            product<T, true>(k, turned, C, shown + l * C, wide, 1, s.turned, turned,
                             by_harmonics + begin * MS + l * l, MS);
        }
        T* to = received + ((t - 1) * near + begin) * C;
        for (Int j = 0; j < k; ++j)
            for (Int c = 0; c < C; c += W<T>) {
                const Vec<T> message = load(s.messages + (at + j) * C + c);
                Vec<T> sum = {};
                for (Int x = j * wide + c; x < (j + 1) * wide; x += C) {
                    const Vec<T> slope = load(s.slope_shown + x);
                    sum += load(table + x) * slope;
                    store(s.slope_shown + x, slope * message);
                }
                store(to + j * C + c, sum);
            }
        product<T, true>(k, RP, wide, s.slope_shown, wide, 1, w.radial_back, RP, by_radial + begin * RP, RP);
    }

    // -- passes -------------------------------------------------------------------------------------

    template <class Function> void blocks(Function function) {
        const Int count = (in.atoms + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(dynamic, 4) num_threads(static_cast<int>(threads)) if (threads > 1)
        for (Int b = 0; b < count; ++b) {
            Int own = 0;
#ifdef _OPENMP
            if (threads > 1) own = omp_get_thread_num();
#endif
            function(b * BLOCK, std::min(BLOCK, in.atoms - b * BLOCK), scratch[own]);
        }
    }

    T* factors_at(Int t, Int start) const { return kept_factors + (t * in.atoms + start) * M * 3 * C; }
    T* hidden_at(Int t, Int start) const { return kept_hidden + (t * in.atoms + start) * 2 * H; }

    void run() {
        const Int last = layers - 1;
        std::memset(out.slopes, 0, sizeof(T) * 3 * in.bonds);
        std::memset(out.energies, 0, sizeof(T) * in.atoms);
        for (Int t = 0; t < last; ++t)
            blocks([&](Int start, Int nb, Scratch& s) {
                if (!t) basis(first[start], first[start + nb]);
                forward(t, start, nb, s, factors_at(t, start), hidden_at(t, start));
            });
        blocks([&](Int start, Int nb, Scratch& s) {
            if (!last) basis(first[start], first[start + nb]);
            forward(last, start, nb, s, s.factors, s.hidden);
            backward(last, start, nb, s, s.factors, s.hidden, true);
            if (!last) bond_slopes(first[start], first[start + nb]);
        });
        for (Int t = last - 1; t >= 0; --t)
            blocks([&](Int start, Int nb, Scratch& s) {
                features_back(t, start, nb, s);
                backward(t, start, nb, s, factors_at(t, start), hidden_at(t, start), false);
                if (!t) bond_slopes(first[start], first[start + nb]);
            });
    }
};

}  // namespace

// Values per vector, by bytes per value.
extern "C" std::int64_t mlpot_lanes(std::int64_t bytes) { return BYTES / bytes; }

// 0 when done, otherwise how many bytes of memory (aligned to 64) it takes to get further.
extern "C" std::int64_t mlpot_evaluate_float(const void* arguments, char* memory, std::int64_t size) {
    return compute<Evaluation<float>>(*static_cast<const Arguments<float>*>(arguments), memory, size);
}
extern "C" std::int64_t mlpot_evaluate_double(const void* arguments, char* memory, std::int64_t size) {
    return compute<Evaluation<double>>(*static_cast<const Arguments<double>*>(arguments), memory, size);
}
