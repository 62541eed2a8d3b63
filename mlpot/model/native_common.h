// What the kernels for energies and slopes (native.cpp) and for training (native_training.cpp) share.
//
// - Channels are contiguous and padded to whole vectors with zero weights: no loop has a tail.
// - All products go through one micro-kernel whose accumulators stay in registers.
// - Atoms come in blocks of BLOCK, tables as (component, atom, channel): a weight matrix is read
//   once per block, and what a block needs stays in the second-level cache.
// - Lebedev grids contain -p with every p. Fields are split into even and odd degrees, E and O, on
//   one half of the points: (E + O)(E' + O') has the even part EE' + OO' and the odd part EO' + OE',
//   so half of the points give all of the products, exactly.
// - Bonds beyond the cutoff (of a neighbour list with a skin) are left out before anything else.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif

namespace {

using Int = std::int64_t;
constexpr Int BLOCK = 4;
constexpr Int DEGREES = 16;

template <class T> struct Vector;
template <> struct Vector<float> {
    typedef float Type __attribute__((vector_size(BYTES), aligned(4), may_alias));
};
template <> struct Vector<double> {
    typedef double Type __attribute__((vector_size(BYTES), aligned(8), may_alias));
};
template <class T> using Vec = typename Vector<T>::Type;
template <class T> constexpr Int W = BYTES / sizeof(T);

template <class T> inline Vec<T> load(const T* p) { return *reinterpret_cast<const Vec<T>*>(p); }
template <class T> inline void store(T* p, Vec<T> v) { *reinterpret_cast<Vec<T>*>(p) = v; }
inline Int up(Int n, Int w) { return (n + w - 1) / w * w; }

// -- C (M, N) = or += A (M, K) B (K, N); A has any strides, B and C rows of whole vectors ---------

template <class T, int MR, int NR, bool ADD>
void micro(Int K, const T* A, Int row, Int column, const T* B, Int ldb, T* C, Int ldc) {
    Vec<T> sums[MR][NR];
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < NR; ++j) sums[i][j] = ADD ? load(C + i * ldc + j * W<T>) : Vec<T>{};
    for (Int k = 0; k < K; ++k) {
        Vec<T> b[NR];
#pragma GCC unroll 16
        for (int j = 0; j < NR; ++j) b[j] = load(B + j * W<T>);
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) {
            const T a = A[i * row];
#pragma GCC unroll 16
            for (int j = 0; j < NR; ++j) sums[i][j] += a * b[j];
        }
        A += column;
        B += ldb;
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < NR; ++j) store(C + i * ldc + j * W<T>, sums[i][j]);
}

template <class T, int MR, int NR, bool ADD>
inline void rows_of(Int size, Int K, const T* A, Int row, Int column, const T* B, Int ldb, T* C, Int ldc) {
    if (size == MR) return micro<T, MR, NR, ADD>(K, A, row, column, B, ldb, C, ldc);
    if constexpr (MR > 1) rows_of<T, MR - 1, NR, ADD>(size, K, A, row, column, B, ldb, C, ldc);
}

// All rows against NR vectors of columns, in nearly equal portions of at most MR.
template <class T, int MR, int NR, bool ADD>
void panel(Int M, Int K, const T* A, Int row, Int column, const T* B, Int ldb, T* C, Int ldc) {
    for (Int portions = (M + MR - 1) / MR; portions > 0; --portions) {
        const Int size = (M + portions - 1) / portions;
        rows_of<T, MR, NR, ADD>(size, K, A, row, column, B, ldb, C, ldc);
        A += size * row;
        C += size * ldc;
        M -= size;
    }
}

template <class T, bool ADD>
void product(Int M, Int N, Int K, const T* A, Int row, Int column, const T* B, Int ldb, T* C, Int ldc) {
    Int vectors = N / W<T>;
    while (vectors > 0) {
        Int width;
        if (M <= 3 && vectors >= 4) {
            panel<T, 3, 4, ADD>(M, K, A, row, column, B, ldb, C, ldc);
            width = 4;
        } else if (vectors >= 2) {
            panel<T, 6, 2, ADD>(M, K, A, row, column, B, ldb, C, ldc);
            width = 2;
        } else {
            panel<T, 12, 1, ADD>(M, K, A, row, column, B, ldb, C, ldc);
            width = 1;
        }
        vectors -= width;
        B += width * W<T>;
        C += width * W<T>;
    }
}

// ---------------------------------------------------------------------------------------------------

// Widths are padded to vectors, except radial, which counts the functions there are.
struct Shape {
    Int layers, l_max, l_features, channels, radial, hidden, elements, steps, gradients;
    double cutoff;
};

// One layer's weights; "back" marks the transposed matrix. Null where a layer has none.
template <class T> struct Weights {
    const T *density, *density_back;  // (degrees, elements * R, 3C), (degrees, 3C, elements * R)
    const T *radial, *radial_back;    // (R, degrees * C), (degrees * C, R)
    const T *factors, *factors_back;  // (degrees, C, 3C), (degrees, 3C, C)
    const T *emit, *emit_back;        // (degrees, C, C)
    const T* centre;                  // (elements, 3C)
    const T *even, *odd;              // (points, components of that parity)
    const T *project_even, *project_odd;
    const T *scalars, *scalars_back;  // (3C, H + C), (H + C, 3C)
    const T *outer, *outer_back;      // (H, C), (C, H)
    const T *readout, *readout_back;  // (C, H + W), (H + W, C)
    const T* readout_outer;           // (H,)
    const T *update, *update_back;    // (degrees - 1, 3C, C), (degrees - 1, C, 3C)
    const Int* points;                // number of points
};

// r_a R_{l-1,m'} -> R_lm, and its gradient: lists of what is not zero.
struct Coupling {
    Int m, axis, lower;
    double value;
};

// What is evaluated: weights and the bonds of all atoms.
template <class T> struct Input {
    const Shape* shape;
    const Weights<T>* weights;
    const Coupling *steps, *gradients;
    Int atoms, bonds;
    const T* vectors;
    const Int *counts, *reverse, *species, *neighbour;
    Int threads;
};

// Memory handed out piece by piece; measures instead while there is none.
struct Arena {
    char* base;
    Int used = 0;
    template <class U> U* take(Int count) {
        char* here = base ? base + used : nullptr;
        used += up(count * static_cast<Int>(sizeof(U)), 64);
        return reinterpret_cast<U*>(here);
    }
};

// Sizes, the bonds within the cutoff with their basis functions, and fields on the sphere.
template <class T> struct Network {
    Input<T> in;
    Int C, L, M, MF, R, RP, ER, H, MP, MS, degrees, features, layers, near, widest, threads;
    T scale;
    // Of every bond within the cutoff: row in the list, opposite bond, directions and basis functions.
    Int *first, *slot, *bond, *opposite;
    T *direction, *inverse, *harmonics, *radial, *derivative;

    explicit Network(const Input<T>& input) : in(input) {
        const Shape& s = *in.shape;
        C = s.channels, L = s.l_max, R = s.radial, H = s.hidden, layers = s.layers;
        degrees = L + 1, features = s.l_features, M = degrees * degrees;
        MF = (features + 1) * (features + 1);
        RP = up(R, W<T>), ER = s.elements * RP, MP = up(M, W<T>);
        MS = MP;
        for (Int l = 0; l < degrees; ++l) MS = std::max(MS, l * l + up(2 * l + 1, W<T>));
        MS = std::max(MS, up(MF, W<T>));
        scale = static_cast<T>(1.0 / std::sqrt(static_cast<double>(layers)));
        threads = std::min<Int>(in.threads, 256);
    }

    // Rows of the even degrees come first, those of the odd ones after them.
    static Int parity_rows(Int l_max, Int odd) {
        Int rows = 0;
        for (Int l = odd; l <= l_max; l += 2) rows += 2 * l + 1;
        return rows;
    }
    static Int split_row(Int l, Int l_max) {
        Int row = l % 2 ? parity_rows(l_max, 0) : 0;
        for (Int k = l % 2; k < l; k += 2) row += 2 * k + 1;
        return row;
    }
    Int degree_out(Int t) const { return t + 1 < layers ? features : 0; }

    Int most_points() const {
        Int points = 0;
        for (Int t = 0; t < layers; ++t) points = std::max(points, *in.weights[t].points);
        return points;
    }

    void lay_out(Arena& arena) {
        first = arena.take<Int>(in.atoms + 1);
        slot = arena.take<Int>(in.bonds);
        bond = arena.take<Int>(in.bonds);
        opposite = arena.take<Int>(in.bonds);
    }
    void lay_out_basis(Arena& arena) {
        direction = arena.take<T>(near * 3);
        inverse = arena.take<T>(near);
        harmonics = arena.take<T>(near * MP);
        radial = arena.take<T>(near * RP);
        derivative = arena.take<T>(near * RP);
    }

    // Count the bonds that matter: one within the cutoff, or whose opposite is, by rounding.
    void select() {
        const T cutoff = static_cast<T>(in.shape->cutoff);
        auto inside = [&](Int e) {
            const T* v = in.vectors + 3 * e;
            return v[0] * v[0] + v[1] * v[1] + v[2] * v[2] < cutoff * cutoff;
        };
        for (Int e = 0; e < in.bonds; ++e) slot[e] = inside(e);
        Int e = 0;
        near = widest = 0;
        for (Int i = 0; i < in.atoms; ++i) {
            first[i] = near;
            for (Int end = e + in.counts[i]; e < end; ++e)
                if (slot[e] || slot[in.reverse[e]]) bond[near++] = e;
            widest = std::max(widest, near - first[i]);
        }
        first[in.atoms] = near;
        for (Int s = 0; s < near; ++s) slot[bond[s]] = s;
        for (Int s = 0; s < near; ++s) opposite[s] = slot[in.reverse[bond[s]]];
    }

    // -- geometry: lanes are bonds ------------------------------------------------------------------

    void geometry(Int begin, Int end) {
        constexpr Int w = W<T>;
        typedef Vec<T> V;
        V y[DEGREES * DEGREES];
        const T cutoff = static_cast<T>(in.shape->cutoff), pi = static_cast<T>(3.14159265358979323846);
        for (Int s = begin; s < end; s += w) {
            const Int n = std::min(w, end - s);
            V r[3], square = {}, distance, sine, cosine;
            for (Int k = 0; k < w; ++k)
                for (Int a = 0; a < 3; ++a) r[a][k] = in.vectors[3 * bond[s + std::min(k, n - 1)] + a];
            for (Int a = 0; a < 3; ++a) square += r[a] * r[a];
            for (Int k = 0; k < w; ++k) distance[k] = std::sqrt(square[k]);
            const V over = T(1) / distance, x = distance / cutoff;
            for (Int k = 0; k < w; ++k) {
                sine[k] = std::sin(pi * x[k]);
                cosine[k] = std::cos(pi * x[k]);
            }
            V inside = T(1) - x * x;
            for (Int k = 0; k < w; ++k) inside[k] = std::max(inside[k], T(0));
            const V envelope = inside * inside * inside / x;
            const V slope = (T(-6) * inside * inside - envelope / x) / cutoff;
            V sn = sine, cn = cosine;
            for (Int order = 1; order <= R; ++order) {
                const V value = sn * envelope, change = sn * slope + cn * envelope * (T(order) * pi / cutoff);
                for (Int k = 0; k < n; ++k) {
                    radial[(s + k) * RP + order - 1] = value[k];
                    derivative[(s + k) * RP + order - 1] = change[k];
                }
                const V next = sn * cosine + cn * sine;
                cn = cn * cosine - sn * sine;
                sn = next;
            }
            for (Int k = 0; k < n; ++k)
                for (Int j = R; j < RP; ++j) radial[(s + k) * RP + j] = derivative[(s + k) * RP + j] = T(0);
            for (Int a = 0; a < 3; ++a) r[a] *= over;
            y[0] = V{} + static_cast<T>(0.28209479177387814347);
            for (Int m = 1; m < M; ++m) y[m] = V{};
            for (const Coupling* c = in.steps; c < in.steps + in.shape->steps; ++c)
                y[c->m] += static_cast<T>(c->value) * r[c->axis] * y[c->lower];
            for (Int k = 0; k < n; ++k) {
                for (Int m = 0; m < M; ++m) harmonics[(s + k) * MP + m] = y[m][k];
                for (Int m = M; m < MP; ++m) harmonics[(s + k) * MP + m] = T(0);
                for (Int a = 0; a < 3; ++a) direction[3 * (s + k) + a] = r[a][k];
                inverse[s + k] = over[k];
            }
        }
    }

    // -- products on the sphere, a tile of channels at a time ----------------------------------------

    template <int NV> void fields_of(const Weights<T>& w, const T* factors, Int ld, T* fields) const {
        const Int q = *w.points, even = parity_rows(L, 0), odd = M - even;
        constexpr Int tile = NV * W<T>;
        for (Int part = 0; part < 3; ++part) {
            const T* x = factors + part * C;
            panel<T, NV == 2 ? 6 : 12, NV, false>(q, even, w.even, even, 1, x, ld, fields + 2 * part * tile,
                                                  6 * tile);
            panel<T, NV == 2 ? 6 : 12, NV, false>(q, odd, w.odd, odd, 1, x + even * ld, ld,
                                                  fields + (2 * part + 1) * tile, 6 * tile);
        }
    }

    // From fields (values or duals) to their products.
    template <class X>
    static void multiply(X xe, X xo, X ye, X yo, X ze, X zo, X& pair_e, X& triple_e, X& pair_o, X& triple_o) {
        pair_e = xe * ye + xo * yo, pair_o = xe * yo + xo * ye;
        triple_e = pair_e * ze + pair_o * zo, triple_o = pair_e * zo + pair_o * ze;
    }

    // From the slopes by pairs (s) and triples (t) to those by the fields, which they replace.
    template <class X>
    static void multiply_back(X& xe, X& xo, X& ye, X& yo, X& ze, X& zo, X se, X te, X so, X to) {
        const X pe = xe * ye + xo * yo, po = xe * yo + xo * ye;
        se = se + te * ze + to * zo, so = so + te * zo + to * ze;
        const X oxe = xe, oxo = xo;
        xe = se * ye + so * yo, xo = se * yo + so * ye;
        ye = se * oxe + so * oxo, yo = se * oxo + so * oxe;
        ze = te * pe + to * po, zo = te * po + to * pe;
    }

    // -- blocks of atoms --------------------------------------------------------------------------

    static T logistic(T x) { return T(1) / (T(1) + std::exp(-x)); }
    static T silu_slope(T x) {
        const T s = logistic(x);
        return s * (T(1) + x * (T(1) - s));
    }

    Int bonds_of(Int i) const { return first[i + 1] - first[i]; }
    // (rows, columns) to (columns, width), with zeros beyond the rows.
    static void turn(const T* from, Int ld, Int rows, Int columns, T* to, Int width) {
        for (Int c = 0; c < columns; ++c) {
            for (Int r = 0; r < rows; ++r) to[c * width + r] = from[r * ld + c];
            for (Int r = rows; r < width; ++r) to[c * width + r] = T(0);
        }
    }

};

// Bytes needed where there is no memory; else what Computation does, if the memory is enough.
template <class Computation, class Arguments> Int compute(const Arguments& arguments, char* memory, Int size) {
    Computation computation(arguments);
    Arena arena{nullptr};
    computation.lay_out(arena);
    if (arena.used > size) return arena.used;
    arena = Arena{memory};
    computation.lay_out(arena);
    computation.select();
    Arena rest{nullptr, arena.used};
    computation.lay_out_rest(rest);
    if (rest.used > size) return rest.used;
    computation.lay_out_rest(arena);
    computation.run();
    return 0;
}

}  // namespace
